#!/usr/bin/env bash
# Package:     notepack.io 3.0.1 (npm), with Node.js 18 or later
# Expected:    A typed array is encoded as a bin of its bytes, or as an array of its numbers, as other MessagePack
#              libraries for JavaScript do. README: "ArrayBuffer are encoded as bin".
# Observed:    A typed array of anything but bytes becomes a bin of one byte for each number, which is cut to it.
# Consequence: The page on writing clients has a table of what libraries damage before a server can see it.
# Output:
#   Float32Array 0.5,-1,300 c40300ff2c 00ff2c
#   Float64Array 0.5,-1,300 c40300ff2c 00ff2c
#   Int32Array 1,-1,300 c40301ff2c 01ff2c
#   Uint8Array 1,2,3 c403010203 010203
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

npm install --silent --no-save --prefix "$folder" "notepack.io@3.0.1"

cd "$folder"
node - <<'PROGRAM' >output
const notepack = require("notepack.io");
const arrays = [
  new Float32Array([0.5, -1, 300]),
  new Float64Array([0.5, -1, 300]),
  new Int32Array([1, -1, 300]),
  new Uint8Array([1, 2, 3]),
];
for (const array of arrays) {
  const encoded = Buffer.from(notepack.encode(array));
  const decoded = Buffer.from(notepack.decode(encoded));
  console.log(array.constructor.name, array.join(), encoded.toString("hex"), decoded.toString("hex"));
}
PROGRAM
cd "$OLDPWD"

sed -n 's/^#   //p' "$0" | grep -v '^ ' | diff - "$folder/output" && echo "as described"
