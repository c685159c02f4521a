"""Configuration files: what is accepted, and every reason for a refusal at once."""

from pathlib import Path

import pytest

from vtpmd.config.files import read_files
from vtpmd.config.loader import ConfigurationError, inspect_text, load, parse
from vtpmd.kms.kmip.settings import KmipSettings


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse(text.encode(), "file")
    return caught.value.problems


def test_empty_file_means_the_defaults() -> None:
    configuration = parse(b"", "file")
    assert configuration.state_dir == Path("/var/lib/vtpmd")
    assert configuration.admin_socket == Path("/run/vtpmd/admin.sock")
    assert configuration.sockets.mode == 0o660
    assert configuration.sandbox == "require"
    assert configuration.defaults.pcr_banks == ["sha256", "sha384"]
    assert configuration.provider_for_new_instances == "local"


@pytest.mark.parametrize("quote", ["", '"'])
def test_off_and_on_are_words_with_quotes_and_without(quote: str) -> None:
    text = f"sandbox: {quote}off{quote}\nmemory_merge: {quote}on{quote}"
    configuration = parse(text.encode(), "file")
    assert (configuration.sandbox, configuration.memory_merge) == ("off", "on")
    assert problems("memory_merge: 1") == [
        "file:1: memory_merge: must be 'off' or 'on'",
    ]


def test_the_sample_shows_the_defaults() -> None:
    sample = Path(__file__).parents[2] / "config" / "vtpmd.yaml"
    configuration = load(sample)
    but = b"key_providers: [{type: local, name: local, require_backup: true}]"
    assert configuration == parse(but, "file")


@pytest.mark.parametrize("spelling", ["0640", '"0640"', "0o640", '"0o640"', '"640"'])
def test_modes_are_octal_however_they_are_written(spelling: str) -> None:
    assert parse(f"sockets: {{mode: {spelling}}}".encode(), "file").sockets.mode == 0o640


@pytest.mark.parametrize("spelling", ["660", "0999", "true", "0060", '"rw"', "01777"])
def test_what_is_no_mode_is_refused(spelling: str) -> None:
    (problem,) = problems(f"sockets: {{mode: {spelling}}}")
    assert problem.startswith("file:1: sockets.mode: ")


def test_all_problems_are_told_with_path_and_line() -> None:
    text = """\
state_dir: relative
sandbox: maybe
sockets:
  data_socket: "yes"
  group: no-such-group-here
defaults:
  pcr_banks: [sha256, SHA512]
key_providers:
  - {type: local, name: a}
  - type: local
    name: b
    keyrng: /k
surprise: 1
"""
    found = problems(text)
    starts = [problem.split(": ")[:2] for problem in found]
    assert starts == [
        ["file:1", "state_dir"],
        ["file:2", "sandbox"],
        ["file:4", "sockets.data_socket"],
        ["file:5", "sockets.group"],
        ["file:7", "defaults.pcr_banks.1"],
        ["file:12", "key_providers.1.keyrng"],
        ["file:13", "surprise"],
    ]
    assert "there is no group 'no-such-group-here'" in found[3]


def test_a_key_given_twice_is_refused() -> None:
    assert problems("sandbox: off\nlog: {}\nsandbox: require\n") == [
        "file:3: sandbox appears twice"
    ]


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("a: [", "file:1: not YAML: "),
        ("a: !!python/object/apply:os.system [id]", "file:1: not YAML: "),
        ("a: b\x00", "file: not YAML: special characters are not allowed at byte 4"),
        ("a: 2026-13-01", "file: not YAML"),
        ("? [a]\n: b", "file:1: a key must be a word"),
        ("- a", "file:1: "),
        ("x: &x [*x]", "file:1: nested too deeply"),
        ("\n\n" + "[" * 1_000_000, "file:3: nested too deeply"),
        ("x: " + "{y: " * 21, "file:1: nested too deeply"),
        ("\n".join("  " * level + "x:" for level in range(30)), "file:21: nested too deeply"),
        ("x: [" + "a," * 500_000 + "]", "file:1: more than 10000 values"),
    ],
)
def test_what_is_no_configuration_is_refused(text: str, start: str) -> None:
    assert problems(text)[0].startswith(start)


def test_aliases_do_not_multiply() -> None:
    """Each line stands for ten times what the line before it stands for."""
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 7)]
    told = problems("\n".join(lines))
    assert len(told) <= len(lines)
    assert all(problem.endswith("more than 10000 values, aliases replaced") for problem in told)


def test_providers_need_distinct_names_and_the_default_must_be_one_of_them() -> None:
    two = "key_providers: [{type: local, name: a}, {type: local, name: a}]"
    assert "two providers have the same name" in problems(two)[0]
    assert problems("default_provider: x") == [
        "file:1: default_provider: no key provider is named x"
    ]
    assert problems("recovery_provider: x") == [
        "file:1: recovery_provider: no key provider is named x"
    ]
    assert parse(b"key_providers: []", "file").provider_for_new_instances is None
    several = b"key_providers: [{type: local, name: a}, {type: local, name: b}]"
    assert parse(several, "file").provider_for_new_instances is None


KMIP = "type: kmip, name: k, host: kms.example.com, ca: /ca, certificate: /c, key: /k"


def test_kmip_providers_have_defaults() -> None:
    (provider,) = parse(f"key_providers: [{{{KMIP}}}]".encode(), "file").key_providers
    assert isinstance(provider, KmipSettings)
    assert (provider.port, provider.timeout) == (5696, 5.0)
    assert (provider.mode, provider.key_scope) == ("get", "instance")
    assert (provider.key_prefix, provider.key_name) == ("vtpmd-", None)
    assert provider.ca == Path("/ca")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("port: 0", "key_providers.0.port: "),
        ("host: 'kms example'", "key_providers.0.host: "),
        ("key: relative", "key_providers.0.key: the path must be absolute"),
        ("mode: put", "key_providers.0.mode: "),
        ("key_scope: shared", "key_providers.0: key_name belongs to key_scope: shared"),
        ("key_name: n", "key_providers.0: key_name belongs to key_scope: shared"),
        ("key_prefix: ''", "key_providers.0.key_prefix: "),
        ("timeout: 0", "key_providers.0.timeout: "),
        ("timeout: .nan", "key_providers.0.timeout: "),
        ("timeout: .inf", "key_providers.0.timeout: "),
        ("password: x", "key_providers.0.password: "),
    ],
)
def test_kmip_providers_are_checked(text: str, problem: str) -> None:
    key = text.partition(":")[0]
    usual = ", ".join(part for part in KMIP.split(", ") if not part.startswith(f"{key}:"))
    (found,) = problems(f"key_providers: [{{{usual}, {text}}}]")
    assert found.startswith(f"file:1: {problem}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("type: pkcs11, name: hsm, module: /m.so, pin_file: /pin", "token: is missing"),
        ("type: pkcs11, name: hsm, module: /m.so, pin_file: /pin, token: ''", "token: String"),
        ("type: local, name: 7", "name: must be a valid string"),
        ("type: acme, name: 7", "type: there is no type 'acme'; known are aws-kms, "),
        ("type: [local], name: a", "type: there is no type ['local']; known are "),
        ("name: a", "type: is missing"),
        (
            "type: vault, name: v, url: 'https://v', ca: /ca, auth: {method: token, token_file: t}",
            "auth.token_file: the path must be absolute",
        ),
        ("type: vault, name: v, url: 'https://v', ca: /ca, auth: {method: x}", "auth: Input tag"),
        ("type: vault, name: v, url: 'https://v', ca: /ca, auth: {method: token}",
         "auth.token_file: is missing"),
    ],
)  # fmt: skip
def test_problems_are_named_as_the_file_names_them(text: str, problem: str) -> None:
    (found,) = problems(f"key_providers: [{{{text}}}]")
    assert found.startswith(f"file:1: key_providers.0.{problem}")


@pytest.mark.parametrize("entry", ["local", "[local]", "null"])
def test_a_provider_without_settings_is_refused(entry: str) -> None:
    assert problems(f"key_providers: [{entry}]") == [
        "file:1: key_providers.0: a mapping with type and name is expected"
    ]


def test_a_runtime_directory_too_long_for_sockets_is_refused() -> None:
    assert "too long for a Unix socket" in problems(f"runtime_dir: /{'x' * 120}")[0]
    assert "too long for a Unix socket" in problems(f"runtime_dir: /{'x' * 62}")[0]
    parse(f"runtime_dir: /{'x' * 61}".encode(), "file")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.yaml: No such file"):
        load(tmp_path / "absent.yaml")
    (tmp_path / "large").write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(ConfigurationError, match="larger than"):
        load(tmp_path / "large")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("staet_dir: /x", "staet_dir: unknown setting staet_dir; did you mean state_dir?"),
        ("sockets: {mod: '0660'}", "sockets.mod: unknown setting mod; did you mean mode?"),
        ("log: {xyz: 1}", "log.xyz: unknown setting xyz; known are format, level"),
        (
            "key_providers: [{type: local, name: a, keyrng: /k}]",
            "key_providers.0.keyrng: unknown setting keyrng; did you mean keyring?",
        ),
        (
            "key_providers: [{type: vault, name: v, url: 'https://v', ca: /ca, auth: "
            "{method: token, token_file: /t, mont: x}}]",
            "key_providers.0.auth.mont: unknown setting mont; did you mean mount?",
        ),
    ],
)
def test_an_unknown_setting_is_told_with_what_may_be_meant(text: str, told: str) -> None:
    assert problems(text) == [f"file:1: {told}"]


def test_faults_of_all_kinds_are_told_at_once() -> None:
    """What is wrong by itself hides nothing that does not go together."""
    text = f"""\
sandbox: maybe
default_provider: x
runtime_dir: /{"r" * 100}
key_providers:
  - {{type: local, name: a}}
  - {{type: local, name: a}}
"""
    assert problems(text) == [
        "file:1: sandbox: must be 'require', 'best-effort' or 'off'",
        "file:2: default_provider: no key provider is named x",
        "file:3: runtime_dir: the path is too long for a Unix socket in it",
        "file:4: key_providers: two providers have the same name",
    ]


def test_a_provider_that_is_wrong_is_not_missed_by_the_default() -> None:
    text = "default_provider: a\nkey_providers: [{type: local, name: a, x: 1}]\n"
    (problem,) = problems(text)
    assert "unknown setting x" in problem


def test_a_provider_that_is_wrong_does_not_hide_that_another_one_is_missed() -> None:
    text = "default_provider: b\nkey_providers: [{type: local, name: a, x: 1}]\n"
    missed, unknown = problems(text)
    assert missed == "file:1: default_provider: no key provider is named b"
    assert "unknown setting x" in unknown
    nameless = "default_provider: b\nkey_providers: [{type: local}, {type: local}, nothing]\n"
    assert not [each for each in problems(nameless) if "default_provider" in each]
    assert not [each for each in problems(nameless) if "the same name" in each]


@pytest.mark.parametrize(
    "text", ["- a", "words", "log: 3", "key_providers: [{type: kmip, x: 1}, 3]"]
)
def test_where_settings_are_expected(text: str) -> None:
    told = problems(text)
    assert not [each for each in told if "dictionary" in each or "instance of" in each], told


def test_files_that_have_to_be_there() -> None:
    text = b"""\
identity: {roots: /roots}
key_providers:
  - {type: local, name: l, keyring: /keyring}
  - {type: kmip, name: k, host: h, ca: /ca, certificate: /c, key: /k}
  - type: vault
    name: v
    url: https://v
    ca: /ca
    auth: {method: token, token_file: /t}
"""
    found = {".".join(map(str, place)): str(path) for place, path in read_files(parse(text, "f"))}
    assert found == {
        "identity.roots": "/roots",
        "key_providers.1.ca": "/ca",
        "key_providers.1.certificate": "/c",
        "key_providers.1.key": "/k",
        "key_providers.2.ca": "/ca",
        "key_providers.2.auth.token_file": "/t",
    }


def test_files_of_a_provider_that_is_wrong_elsewhere() -> None:
    """They are told in the same round, each where it is named."""
    text = b"""\
key_providers:
  - {type: vault, name: v, url: https://v, ca: /ca, x: 1, auth: {method: token, token_file: /t}}
  - {type: kmip, name: k, host: h, ca: /b, certificate: /c, key: /k}
  - {type: acme, name: k, key: /never}
"""
    inspected = inspect_text(text, "f")
    assert {".".join(map(str, place)): str(path) for place, path in inspected.files()} == {
        "key_providers.0.ca": "/ca",
        "key_providers.0.auth.token_file": "/t",
        "key_providers.1.ca": "/b",
        "key_providers.1.certificate": "/c",
        "key_providers.1.key": "/k",
    }
    assert any("two providers have the same name" in each for each in inspected.problems)
