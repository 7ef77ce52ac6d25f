/**
 * A program of its own: downloads the real `mongod` with mongodb-memory-server-core into the folder
 * given as its argument, and prints the path of the binary on the last line. It runs as a child,
 * because the library prints its progress on standard output and takes options from the
 * environment.
 */
import { MongoBinary } from "mongodb-memory-server-core";

const [folder] = process.argv.slice(2);
if (folder === undefined) throw new Error("usage: download-mongod.ts FOLDER");
const path = await MongoBinary.getPath({ downloadDir: folder });
process.stdout.write(`\n${path}\n`);
