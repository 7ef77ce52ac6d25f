import type { Logger } from "@rs-agent/shared/logger.ts";
import type { PolicyBook } from "@rs-agent/shared/policy/effective.ts";
import { parseSources, type SourceConfig } from "@rs-agent/shared/store/source-config.ts";

/** The sources of this dispatcher, and which of them are open: their records may be adopted. */
export interface Sources {
  readonly all: readonly SourceConfig[];
  /** The source of this name, or why no record of it can be read now. */
  open(name: string): SourceConfig | { closed: string };
}

/** @throws TerminalError CFG_INVALID where SOURCES is wrong */
export function createSources(
  json: string | undefined,
  book: () => Pick<PolicyBook, "hasTenant">,
  log: Logger,
): Sources {
  const all = json === undefined ? [] : parseSources(json);
  const told = new Set<SourceConfig>();
  /** Its mail would leave by default rules and unsigned: it waits in the source until a policy has the tenant. */
  const lacksTenant = (source: SourceConfig) => {
    const { name, tenant } = source;
    if (tenant === undefined || book().hasTenant(tenant)) {
      told.delete(source);
      return false;
    }
    if (!told.has(source))
      log.error({ source: name, tenant }, "no policy has the tenant of a source");
    told.add(source);
    return true;
  };
  return {
    all,
    open(name) {
      const source = all.find((each) => each.name === name);
      if (source === undefined) return { closed: `the dispatcher has no source ${name} (SOURCES)` };
      return lacksTenant(source)
        ? { closed: `no policy has the tenant ${source.tenant ?? ""} of source ${name}` }
        : source;
    },
  };
}
