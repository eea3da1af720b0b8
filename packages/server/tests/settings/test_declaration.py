"""The shape of declarations: the server's own use no other keys, and so can a service's."""

from gunicorn.settings.declaration import Declaration
from gunicorn.settings.sections import MODULES
from gunicorn.settings.setting import class_from


def test_declarations_have_the_keys_of_the_shape() -> None:
    for module in MODULES:
        for declaration in module.SETTINGS:
            assert set(declaration) <= Declaration.__required_keys__ | Declaration.__optional_keys__
            assert set(declaration) >= Declaration.__required_keys__


def test_every_key_reaches_the_setting() -> None:
    declaration: Declaration = {
        "name": "x",
        "section": "S",
        "default": "in words",
        "validator": "string",
        "desc": "D.",
        "class_name": "TheX",
        "cli": ("--x",),
        "action": "store",
        "nargs": "?",
        "const": "c",
        "meta": "M",
        "type": str,
        "default_factory": lambda: "made",
        "env": "TEST_DECLARATION_X",
        "from_env": str.upper,
    }
    cls = class_from(declaration, register=False)
    assert cls.__name__ == "TheX"
    for key in declaration.keys() - {"class_name", "validator"}:
        assert getattr(cls, key) == declaration[key]  # type: ignore[literal-required]
    assert cls().get() == "made"
