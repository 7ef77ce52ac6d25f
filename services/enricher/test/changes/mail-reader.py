"""Reads mails with Python's email package: one per line in base64; answers each with a line of JSON.

For each leaf: where it is, its type, whether a person is shown it as text of the sender, that text,
and the bytes that the package makes of it.
"""
import base64
import email
import email.policy
import html.parser
import json
import sys

GUARDED = {"multipart/signed", "multipart/encrypted", "multipart/report", "multipart/digest"}


class Visible(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.text = ""
        self.hidden = 0

    def handle_starttag(self, tag, attrs):
        self.hidden += tag in ("script", "style", "title")

    def handle_endtag(self, tag):
        self.hidden -= tag in ("script", "style", "title")

    def handle_data(self, data):
        self.text += "" if self.hidden else data


def shown_text(part):
    text = part.get_content()
    if part.get_content_type() == "text/plain":
        return text
    visible = Visible()
    visible.feed(text)
    visible.close()
    return visible.text


def leaves(part, path, guarded):
    kind = part.get_content_type()
    if part.is_multipart():
        inner = guarded or kind in GUARDED or kind.startswith("message/")
        for at, child in enumerate(part.get_payload()):
            yield from leaves(child, path + [at], inner)
        return
    is_text = kind in ("text/plain", "text/html") and part.get_content_disposition() != "attachment"
    shown = is_text and not guarded
    yield {
        "path": path,
        "type": kind,
        "shown": shown,
        "text": shown_text(part) if shown else "",
        "charsets": [value for name, value in part.get_params(failobj=[]) if name == "charset"],
        "bytes": repr((list(part.raw_items()) if path else "", part.get_payload())),
    }


for line in sys.stdin:
    mail = email.message_from_bytes(base64.b64decode(line), policy=email.policy.default)
    print(json.dumps(list(leaves(mail, [], False))), flush=True)
