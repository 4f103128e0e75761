"""Joined scripts and style sheets: complete, at an address that changes with their content."""

import re
import subprocess
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.support.parts import require
from tests.support.web import make_client
from web.assets import join_modules, script_url, style_url
from web.pages import VIEWS


@pytest.fixture
def client(tmp_path: Path) -> FlaskClient:
    return make_client(f"sqlite:///{tmp_path}/energy_meters.db")


def test_a_joined_file_may_be_cached_for_ever(client: FlaskClient) -> None:
    with client.application.test_request_context():
        addresses = script_url("overview"), style_url("meterflow", "meter")

    answers = [client.get(address) for address in addresses]

    assert [answer.mimetype for answer in answers] == ["text/javascript", "text/css"]
    for answer in answers:
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    ["overview.0123456789ab.js", "nothing.0123456789ab.js", "..%2fusers.0123456789ab.py", "x.y"],
)
def test_another_content_or_file_is_not_found(client: FlaskClient, path: str) -> None:
    assert client.get(f"/assets/{path}").status_code == 404


def test_modules_keep_their_scopes_and_names(tmp_path: Path) -> None:
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor" / "global.js").write_text("var adder=function(){return (a,b)=>a+b}();")
    (tmp_path / "vendor" / "esm.js").write_text("const q=3;export{q as default,q as three};")
    (tmp_path / "one.js").write_text("const own = 1;\nexport const one = own;\n")
    (tmp_path / "main.js").write_text(
        'import {\n  one as first,\n} from "./one.js";\n'
        'import { adder } from "./vendor/global.js";\n'
        'import { three } from "./vendor/esm.js";\n'
        "// a remark\nconst own = 2;\n"
        "export async function all() { return adder(first + own, three); }\n"
        "all().then((sum) => console.log(`${sum} // kept`));\n"
    )
    joined = tmp_path / "joined.mjs"

    joined.write_text(join_modules("main", tmp_path))

    assert "a remark" not in joined.read_text()
    ran = subprocess.run([require("node"), joined], capture_output=True, text=True, check=True)
    assert ran.stdout == "6 // kept\n"


def test_modules_that_import_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / "one.js").write_text('import { two } from "./two.js";\nexport const one = two;\n')
    (tmp_path / "two.js").write_text('import { one } from "./one.js";\nexport const two = one;\n')

    with pytest.raises(ValueError, match=r"one\.js imports itself, by one\.js, two\.js"):
        join_modules("one", tmp_path)


@pytest.mark.parametrize("page", [*(view.name for view in VIEWS), "meter"])
def test_every_module_has_what_others_import_from_it(page: str) -> None:
    joined = join_modules(page)
    exported = {
        found[1]: {name.partition(":")[0].strip() for name in found[2].split(",")}
        for found in re.finditer(
            r"^const (\$\w+) = \(\(\) => \{\n.*?^return \{ (.*?) \};\n\}\)\(\);$",
            joined,
            re.MULTILINE | re.DOTALL,
        )
    }
    imports = re.findall(r"^const \{ (.*?) \} = (\$\w+);$", joined, re.MULTILINE)

    assert imports
    for names, module in imports:
        assert {name.partition(":")[0].strip() for name in names.split(",")} <= exported[module]
