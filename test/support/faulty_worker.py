"""The example in Python with one fault, named by the first argument: the contract suite must find it."""
import pathlib, sys

faults = {
    "answers twice": ('        self.send(kind="result"', '        for _ in range(2): self.send(kind="result"'),
    "says nothing of beginning": ('self.send(kind="started"', 'dict(kind="started"'),
    "echoes another id": ("key: head[key] for", 'key: head[key] if key != "mailId" else "other" for'),
    "cannot check a plain mail": ('output = find(mail, head["settings"])', 'raise ValueError("no engine")'),
    "grants while another is alone": ("sole not in (None, self)", "False"),
}
path = pathlib.Path(__file__).parents[2] / "examples/python-worker/worker.py"
text, (right, wrong) = path.read_text(), faults[sys.argv[1]]
assert text.count(right) == 1, "the example is another one: mend this fault"
text = text.replace(right, wrong)
if sys.argv[1] == "grants while another is alone":
    text = text.replace("link.granted == 0 and ", "")
exec(compile(text, str(path), "exec"))
