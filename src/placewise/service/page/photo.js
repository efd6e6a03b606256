/** A file → a picture that can be shown: upright, and small enough that a visit may hold many. */

const SIDE = 1280;

/** The address of a picture; null where this browser cannot read the file. The file itself stays as it is. */
export async function pictureOfFile(file) {
  try {
    const bitmap = await createImageBitmap(file);
    const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.9));
    return blob && URL.createObjectURL(blob);
  } catch {
    return null;
  }
}
