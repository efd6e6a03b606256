/** Starts the page: each part listens to the visit, and none knows another but where one leads to the next. */

import * as adding from "./adding.js";
import * as answer from "./answer.js";
import * as asking from "./asking.js";
import * as gallery from "./gallery.js";
import * as history from "./history.js";
import * as hits from "./hits.js";
import * as key from "./key.js";
import * as map from "./map.js";
import * as match from "./match.js";
import * as scale from "./scale.js";

for (const part of [asking, history, answer, scale, hits, match, map, adding, gallery]) part.start();
key.start(gallery.load);
gallery.load();
