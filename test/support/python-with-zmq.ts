import { cacheFolderOf, loadMongoDbConfig } from "@rs-agent/kit/mongodb/config.ts";
import { providePython } from "@rs-agent/kit/python-environment.ts";

const packages = ["pyzmq==27.1.0", "msgpack==1.1.2"];

/** A Python that has pyzmq and msgpack, made by pip in the cache where it is not there. */
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
