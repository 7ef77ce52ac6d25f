import { ConnectionString } from "mongodb-connection-string-url";
import { readCertificate, readSecret, readTrusted } from "../pem-files.ts";

/**
 * Sees that the files which a connection string names can be used, since the driver would only say
 * that no server could be chosen, or name no file.
 * @throws TerminalError CFG_INVALID naming the option and the file
 */
export async function checkTlsFiles(uri: string): Promise<void> {
  const given = new Map(
    [...new ConnectionString(uri).searchParams].map(([name, value]) => [name.toLowerCase(), value]),
  );
  const named = (option: string) => {
    const path = given.get(option.toLowerCase());
    return path === undefined ? undefined : { setting: `MONGODB_URI, ${option}`, path };
  };
  const trusted = named("tlsCAFile");
  if (trusted !== undefined) await readTrusted(trusted);
  const revoked = named("tlsCRLFile");
  if (revoked !== undefined) await readSecret(revoked);
  const own = named("tlsCertificateKeyFile");
  if (own !== undefined)
    await readCertificate(own, own, given.get("tlscertificatekeyfilepassword"));
}
