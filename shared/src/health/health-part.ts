/** Something without which a service cannot do its work. */
export interface HealthPart {
  readonly name: string;
  /**
   * Why the service cannot do its work now; undefined: it can. It tells what is known already and
   * asks nobody, so that frequent probes cost nothing.
   */
  whyNot(): string | undefined;
  /** What is wrong without keeping the service from its work. */
  warnings?(): readonly string[];
  close?(): void;
}
