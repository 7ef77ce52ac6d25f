import { cacheFolderOf, loadMongoDbConfig } from "@rs-agent/kit/mongodb/config.ts";
import { providePython } from "@rs-agent/kit/python-environment.ts";

const packages = ["pyzmq==27.1.0", "msgpack==1.1.2"];

/** A Python with pyzmq and msgpack, installed by pip into the cache if it is missing. */
export async function pythonWithZmq(): Promise<string> {
  const config = loadMongoDbConfig(process.env);
  const context = {
    cacheDir: cacheFolderOf(config),
    path: config.PATH,
    env: process.env,
    report: () => undefined,
  };
  const found = await providePython({ name: "python-zmq-1", packages }, context);
  if ("missing" in found) throw new Error(found.missing);
  return found.file;
}
