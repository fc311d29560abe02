"""deploy/completion: each shell offers what `sluice ctl help` and `sluice --help`
know, word by word, and the names that the running daemon has."""

import os
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "wire"))
from harness import SOURCE, Sluice, binary, equal, expect, main  # noqa: E402
from origin import pair  # noqa: E402

COMPLETION = SOURCE / "deploy/completion"
# For sessions at the socket, not for `sluice ctl`.
SESSION_ONLY = {"prompt", "quit"}

# Each prints, for every line that it reads, "= LINE" and what it would offer.
BASH = f"""
source {COMPLETION}/sluice.bash
while read -r COMP_LINE; do
  COMP_LINE=${{COMP_LINE%.}} COMP_POINT=${{#COMP_LINE}}
  _sluice
  printf '%s\\n' "= $COMP_LINE." "${{COMPREPLY[@]}}"
done
"""
# Outside of its line editor zsh has none of the functions that completion calls.
ZSH = f"""
compadd() {{
  while [[ $1 != -- ]]; do shift; done
  shift
  print -rl -- ${{(M)@:#$words[CURRENT]*}}
}}
_files() {{ print -rl -- $words[CURRENT]*(N) }}
words=(sluice '') CURRENT=2
source {COMPLETION}/_sluice >/dev/null
while read -r line; do
  print -r -- "= $line"
  words=("${{(@s: :)line%.}}") CURRENT=$#words
  _sluice
done
"""
FISH = f"""
source {COMPLETION}/sluice.fish
while read -l line
    echo "= $line"
    complete -C (string replace -r '[.]$' '' -- $line)
end
"""
SHELLS = {"bash": ["bash", "--norc", "-c", BASH], "zsh": ["zsh", "-f", "-c", ZSH], "fish": ["fish", "-N", "-c", FISH]}


def offers(shell, lines, socket=""):
    """{line: what the shell offers for its last word}"""
    # The full stop keeps the spaces before it.
    text = "".join(f"{binary()} {line}.\n" for line in lines)
    done = subprocess.run(SHELLS[shell], input=text, capture_output=True, text=True, timeout=100,
                          env={**os.environ, "SLUICE_SOCKET": socket, "SLUICE_COMPLETION_SECONDS": "60"}, cwd=SOURCE)
    equal((done.returncode, done.stderr), (0, ""), f"how {shell} ended")
    found = {}
    for part in ("\n" + done.stdout).split(f"\n= {binary()} ")[1:]:
        line, _, offered = f"{part}\n".partition(".\n")
        # fish has descriptions behind a tab.
        found[line] = {one.split("\t")[0] for one in offered.splitlines() if one}
    equal(sorted(found), sorted(set(lines)), f"the lines that {shell} read")
    return found


def help_text(*command):
    return subprocess.run([binary(), *command], capture_output=True, text=True, check=True, timeout=20).stdout


def usages():
    """The words of each admin command, brackets removed; a `wait` for each condition."""
    for usage in re.findall(r"^  (\S.*?)  +\S", help_text("ctl", "help"), re.M):
        if usage.split()[0] in SESSION_ONLY:
            continue
        conditions = re.findall(r"`(.*?)`", help_text("ctl", "help", "wait")) if "CONDITION..." in usage else [""]
        for condition in conditions:
            words = usage.replace("CONDITION...", condition)
            yield [word if "[/" in word else word.strip("[]") for word in words.split()]


def after_each(services, upstreams, endpoints):
    """{words: what may follow}, where an argument of a fixed kind follows; each
    argument stands for itself by one of its values."""
    (measures,) = re.findall(r"MEASURE is (.*?)[.]", help_text("ctl", "help", "show", "histogram"))
    kinds = {
        "SVC": services, "SVC/UPSTREAM": upstreams, "SVC/UPSTREAM[/ADDRESS]": upstreams | endpoints,
        "[SVC[/UPSTREAM[/ADDRESS]]]": services | upstreams | endpoints,
        "SVC/UPSTREAM/ADDRESS": endpoints, "MEASURE": set(re.split(", | or ", measures.replace(" (the default)", ""))),
    }
    any_words = {"N": "5", "SECONDS": "5", "FILE": None, "REASON...": None, "CMD...": None}
    known = {}
    for words in usages():
        settings = {f"{word.partition('=')[0]}=" for word in words if "=" in word}
        before = ()
        for word in words:
            if word in any_words:
                if (value := any_words[word]) is None:
                    break
            else:
                offered = settings if "=" in word else kinds.get(word) or set(word.split("|"))
                known.setdefault(before, set()).update(offered)
                value = word if "=" in word else min(offered)
            before += (value,)
    return known


def test_every_shell_offers_what_the_help_has():
    with Sluice(*pair()) as sluice:
        endpoints = {f"{one['service']}/{one['upstream']}/{one['endpoint']}" for one in sluice.admin.show("endpoints")}
        known = after_each({"web"}, {"web/blue", "web/green"}, endpoints)
        known[("help",)] = known[()]
        known[("help", "show")] = known[("show",)]
        expect(len(known) > 30, f"only {len(known)} places with something to offer were found")
        lines = {" ".join(("ctl", *words, "")): wanted for words, wanted in known.items()}
        for shell in SHELLS:
            found = offers(shell, lines, sluice.socket)
            for line, wanted in lines.items():
                options = set() if "-" in "".join(wanted) else {one for one in found[line] if one.startswith("-")}
                equal(sorted(found[line] - options), sorted(wanted), f"what {shell} offers after '{line}'")


def test_every_shell_knows_subcommands_and_their_options():
    wanted = {"": set(re.findall(r"^  (\w+)  ", help_text("--help"), re.M))}
    for command in wanted[""] - {"version"}:
        flags = set(re.findall(r"(--\w+)", help_text(command, "--help")))
        if flags := flags - {"--help"}:
            wanted[f"{command} --"] = flags
    for shell in SHELLS:
        found = offers(shell, wanted)
        for line in wanted:
            equal(sorted(one for one in found[line] - {"--help", "--version"} if line or one[0] != "-"),
                  sorted(wanted[line]), f"what {shell} offers after 'sluice {line}'")


def test_names_are_those_of_the_daemon_that_is_named():
    with Sluice(*pair()) as sluice:
        lines = {f"ctl -s {sluice.socket} trip w": {"web"}, f"ctl --json --socket {sluice.socket} reset ": {"web"},
                 f"ctl -s {sluice.socket} set maxconn web/g": {"web/green"}, "ctl trip ": set()}
        for shell in SHELLS:
            equal(offers(shell, lines, "/nonexistent"), lines, f"what {shell} offers")


def test_files_are_offered_where_a_file_is_meant():
    lines = {line: {"README.md"} for line in ("check READM", "run -c READM", "ctl check READM", "ctl -s READM")}
    for shell in SHELLS:
        equal(offers(shell, lines), lines, f"what {shell} offers")


def test_bash_goes_on_behind_its_word_breaks():
    """It takes what is offered for what stands behind the last colon or equal sign."""
    with Sluice(*pair()) as sluice:
        (blue,) = sluice.admin.show("endpoints", upstream="blue")
        host, _, port = blue["endpoint"].rpartition(":")
        line = f"ctl set endpoint web/blue/{host}:"
        equal(offers("bash", [line], sluice.socket), {line: {port}}, "what bash offers")


sys.exit(main(globals()))
