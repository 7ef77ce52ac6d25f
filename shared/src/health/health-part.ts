/** Something without which a service cannot do its work. */
export interface HealthPart {
  readonly name: string;
  /**
   * Why the service cannot do its work now; undefined if it can. It returns what is already known
   * and asks nobody, so that frequent probes cost nothing.
   */
  whyNot(): string | undefined;
  /** What is wrong but does not stop the service's work. */
  warnings?(): readonly string[];
  close?(): void;
}
