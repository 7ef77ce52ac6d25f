import type { Command } from "commander";
import type { CliDeps } from "./session.ts";

/** Adds one command to the program. */
type Add = (program: Command, deps: CliDeps) => void;

/** A command as the help names it; its own module is loaded only when it is called. */
export interface CommandEntry {
  name: string;
  /** The arguments that follow its name. */
  takes: string;
  does: string;
  load: () => Promise<Add>;
}

/** All commands of `rs-agent`, in the order of the help. */
export const commands: readonly CommandEntry[] = [
  {
    name: "status",
    takes: "",
    does: "what waits, for what; services, workers and engines",
    load: () => import("./commands/status.ts").then(({ addStatus }) => addStatus),
  },
  {
    name: "submit",
    takes: "<file...>",
    does: "hand in mail by SMTP",
    load: () => import("./commands/submit.ts").then(({ addSubmit }) => addSubmit),
  },
  {
    name: "explain",
    takes: "<id>",
    does: "the whole story of one mail, and what comes next",
    load: () => import("./commands/explain.ts").then(({ addExplain }) => addExplain),
  },
  {
    name: "find",
    takes: "",
    does: "mails by address, Message-ID, time or state",
    load: () => import("./commands/find.ts").then(({ addFind }) => addFind),
  },
  {
    name: "retry-now",
    takes: "<id...>",
    does: "make waiting, held or unreported mail due now",
    load: () => import("./commands/acts.ts").then(({ addRetryNow }) => addRetryNow),
  },
  {
    name: "cancel",
    takes: "<id...>",
    does: "give mail up; nobody is told",
    load: () => import("./commands/acts.ts").then(({ addCancel }) => addCancel),
  },
  {
    name: "hold",
    takes: "<id...>",
    does: "keep mail back, for a person or for a time",
    load: () => import("./commands/acts.ts").then(({ addHold }) => addHold),
  },
  {
    name: "quarantine",
    takes: "<command>",
    does: "mail that policy holds back",
    load: () => import("./commands/quarantine.ts").then(({ addQuarantine }) => addQuarantine),
  },
  {
    name: "dead",
    takes: "<command>",
    does: "dead letters: mail that was given up",
    load: () => import("./commands/quarantine.ts").then(({ addDead }) => addDead),
  },
  {
    name: "unknown",
    takes: "<command>",
    does: "mail that the next hop may already have, or not",
    load: () => import("./commands/unknown.ts").then(({ addUnknown }) => addUnknown),
  },
  {
    name: "policy",
    takes: "<command>",
    does: "what is checked, changed and relayed, and how",
    load: () => import("./commands/policy.ts").then(({ addPolicy }) => addPolicy),
  },
  {
    name: "pause",
    takes: "<step>",
    does: "stop one step for all mail; mail waits before it",
    load: () => import("./commands/controls.ts").then(({ addPause }) => addPause),
  },
  {
    name: "resume",
    takes: "<step>",
    does: "go on with a paused step",
    load: () => import("./commands/controls.ts").then(({ addResume }) => addResume),
  },
  {
    name: "keys",
    takes: "<command>",
    does: "keys of the bus, and what each may act as",
    load: () => import("./commands/keys.ts").then(({ addKeys }) => addKeys),
  },
  {
    name: "doctor",
    takes: "",
    does: "each dependency: reached or not, and what to do",
    load: () => import("./commands/doctor.ts").then(({ addDoctor }) => addDoctor),
  },
  {
    name: "worker",
    takes: "test <address>",
    does: "hold a worker of your own to the wire protocol",
    load: () => import("./commands/worker.ts").then(({ addWorker }) => addWorker),
  },
  {
    name: "ready",
    takes: "",
    does: "whether one service is ready, for containers",
    load: () => import("./commands/ready.ts").then(({ addReady }) => addReady),
  },
  {
    name: "chaos",
    takes: "",
    does: "break a private system here; check that no mail is lost",
    load: () => import("./commands/chaos.ts").then(({ addChaos }) => addChaos),
  },
  {
    name: "flood",
    takes: "",
    does: "load at a stated rate, and what becomes of it",
    load: () => import("./commands/flood.ts").then(({ addFlood }) => addFlood),
  },
];
