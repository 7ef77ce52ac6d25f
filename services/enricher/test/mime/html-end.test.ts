import { describe, expect, it } from "vitest";
import { htmlEnd } from "../../src/mime/html-end.ts";

describe("htmlEnd", () => {
  it.each([
    ["<p>Hi|</body></html>"],
    ["<p>Hi|</BODY >"],
    ["<p>Hi|</html>"],
    ["<p>Hi|"],
    ["|"],
    ["1 < 2|"],
    ["<body>a</body>b|</body>"],
    // Comments, including those that end at once (WHATWG HTML §13.2.5.43).
    ["<p>Hi|</body></html><!-- </body> -->"],
    ["<p>Hi<!-- </body> -->|"],
    ["<p>Hi|</body><!-- </html>"],
    ["<p>Hi|<!-- never closed </body>"],
    ["<p>Hi<!-->more|</body>"],
    ["<p>Hi<!--->more|</body>"],
    ["<p>Hi<!-- --!>more|</body>"],
    ["<p><!--[if mso]></body><![endif]-->Hi|</body>"],
    ["<p>Hi<![if !mso]>more<![endif]>|</body>"],
    ["<!doctype html><p>Hi|</body><?php </body> ?>"],
    ["<p>Hi|<!doctype"],
    // Attributes and tags that never end.
    ['<p title="</body>">Hi|'],
    ["<p title = '</body>' >Hi|"],
    ["<p title=it's>Hi|</body><p class=it's>"],
    ['<p>Hi|<a href="x></body>'],
    ["<p>Hi|<a href=x"],
    ["<p>Hi|</body"],
    // Elements whose content is not markup.
    ["<script>'</body>'</script>Hi|"],
    ["<title></body></title>Hi|</body>"],
    ["<p>Hi|<style>p {} </body>"],
    ["<p>Hi|</body><textarea></body></textarea>"],
    ["<scripted>Hi|</body></scripted>"],
    ["<p>Hi|<plaintext></body>"],
  ])("of %j is where a reader sees it", (marked) => {
    const html = marked.replace("|", "");
    expect(`${html.slice(0, htmlEnd(html))}|${html.slice(htmlEnd(html))}`).toBe(marked);
  });
});
