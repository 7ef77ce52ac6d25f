/** What this ingest did since its start, for `status`. */
export interface IngestCounts {
  acceptedMails: number;
  /** Commands and mails that were refused by us, for now or for good. */
  refusals: number;
}

export function createCounts(): IngestCounts {
  return { acceptedMails: 0, refusals: 0 };
}
