import { childMailId } from "@rs-agent/shared/ids.ts";
import { describe, expect, it, vi } from "vitest";
import { openBench, tenant } from "./in-process.ts";

const differing = `
default:
  spam: off
${tenant}
domains:
  other.acme.example: { virus: off }
`;
const recipients = ["a@acme.example", "b@other.acme.example", "c@acme.example"];

describe("a mail whose recipients' policies differ", () => {
  it("I1: is split into one child per group, each under its own policy, and the parent is final", async () => {
    const bench = await openBench();
    await bench.policy(differing);
    await bench.dispatcher();
    bench.worker("virus");
    bench.worker("enrich");
    const id = await bench.mail({ recipients });
    await vi.waitFor(async () => {
      const children = await bench.database.mails.children(id);
      expect(children.map(({ state }) => state)).toEqual(["ready", "ready"]);
    });
    const parent = await bench.get(id);
    expect(parent).toMatchObject({ state: "split" });
    expect(parent.lease).toBeUndefined();
    const children = await bench.database.mails.children(id);
    const groups = children.map((child) => child.recipients.map(({ address }) => address));
    expect(groups.sort()).toEqual([["a@acme.example", "c@acme.example"], ["b@other.acme.example"]]);
    expect(children.map(({ body }) => body.id)).toEqual([parent.body.id, parent.body.id]);
    const checked = bench.asked.filter((each) => each.startsWith("virus"));
    expect(checked).toHaveLength(1);
    expect(await bench.database.mails.countOutcomes()).toMatchObject({
      accepted: 3,
      open: 3,
      holds: true,
    });
  });

  it("is split the same way by whoever takes over after a crash between any two writes", async () => {
    const bench = await openBench();
    await bench.policy(differing);
    const id = await bench.mail({ recipients });
    // A dispatcher froze the groups, made only the first child, and died; its lease has run out.
    const parent = await bench.get(id);
    const groups = [["a@acme.example", "c@acme.example"], ["b@other.acme.example"]];
    const died = { states: ["incoming"] as const, unleased: true };
    await bench.database.mails.writeAs(id, died, { set: { state: "incoming", groups } });
    await bench.database.mails.insert({
      ...parent,
      _id: childMailId(id, 0),
      origin: { via: "split", name: id },
      parentId: id,
      smtp: { ...parent.smtp, rcptTo: groups[0] ?? [] },
      recipients: parent.recipients.filter(({ address }) => groups[0]?.includes(address)),
    });
    await bench.dispatcher();
    bench.worker("virus");
    bench.worker("enrich");
    await vi.waitFor(async () => {
      const children = await bench.database.mails.children(id);
      expect(children.map(({ state }) => state)).toEqual(["ready", "ready"]);
    });
    expect(await bench.database.mails.countOutcomes()).toMatchObject({ accepted: 3, holds: true });
  });

  it("I8: gives each child its part of the parent's last attempt that is unknown", async () => {
    const bench = await openBench();
    await bench.policy(differing);
    const id = await bench.mail({ recipients });
    const unknown = {
      attempt: 1,
      connection: "hop",
      recipients: ["a@acme.example"],
      at: new Date(),
      relay: "relay-1",
    };
    // A person has taken it up again after the policies changed.
    const held = { states: ["incoming"] as const, unleased: true };
    await bench.database.mails.writeAs(id, held, { set: { unknown } });
    await bench.dispatcher();
    await vi.waitFor(async () => expect((await bench.get(id)).state).toBe("split"));
    const marks = (await bench.database.mails.children(id)).map((child) => child.unknown);
    expect(marks).toHaveLength(2);
    expect(marks).toEqual(expect.arrayContaining([unknown, undefined]));
  });
});
