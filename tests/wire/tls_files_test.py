#!/usr/bin/env python3
"""Certificates and keys: read, renewed, shown, and kept to ourselves."""

import base64
import os
import pwd
import re
import subprocess
import sys
from pathlib import Path

from harness import Skipped, Sluice, equal, expect, main, refused, sanitized
from http1 import wait_until
from origin import Origin
from tls import authority, metrics, openssl, TlsClient, tls_sluice


def certificate_of(address, root, name="a.test"):
    with TlsClient(address, root.trusting(), name=name) as client:
        return client.sock.getpeercert()["serialNumber"]


def test_files_that_change_are_taken_without_dropping_anyone():
    with authority() as root, Origin() as origin, tls_sluice(root, origin) as sluice:
        before = certificate_of(sluice.address, root)
        with TlsClient(sluice.address, root.trusting()) as old:
            old.get()
            root.issue("a")
            wait_until(lambda: certificate_of(sluice.address, root) != before, what="the new certificate")
            equal(old.get().status, 200, "on the connection from before")
        expect(sluice.admin.show("events", type="certificates_loaded"), "no event")


def test_swapped_symbolic_links_are_noticed():
    with authority() as root:
        for version in ("..v1", "..v2"):
            Path(root.folder, version).mkdir()
            made = root.issue("a")
            os.rename(made.cert, Path(root.folder, version, "tls.crt"))
            os.rename(made.key, Path(root.folder, version, "tls.key"))
        os.symlink("..v1", Path(root.folder, "..data"))
        for name in ("tls.crt", "tls.key"):
            os.symlink(f"..data/{name}", Path(root.folder, name))
        tls = {"cert": f"{root.folder}/tls.crt", "key": f"{root.folder}/tls.key"}
        with tls_sluice(root, tls=tls) as sluice:
            before = certificate_of(sluice.address, root)
            os.symlink("..v2", Path(root.folder, "..tmp"))
            os.rename(Path(root.folder, "..tmp"), Path(root.folder, "..data"))
            wait_until(lambda: certificate_of(sluice.address, root) != before, what="the new certificate")


def test_a_broken_pair_leaves_the_old_one_in_force():
    with authority() as root, Origin() as origin, tls_sluice(root, origin) as sluice:
        before = certificate_of(sluice.address, root)
        key = Path(root.folder, "a.key")
        good = key.read_bytes()
        key.write_bytes(Path(root.key).read_bytes())
        events = wait_until(lambda: sluice.admin.show("events", type="certificates_not_loaded"), what="the event")
        expect("does not belong" in events[0]["message"], f"the event is {events}")
        reply = sluice.admin.json("reload")
        refused(reply, "invalid")
        expect("a.key" in reply["error"]["message"], f"the reply is {reply}")
        equal(certificate_of(sluice.address, root), before, "the certificate")
        key.write_bytes(good)
        sluice.admin.do("reload")
        equal(certificate_of(sluice.address, root), before, "the certificate")


def staple_for(root, pair, folder):
    """A good OCSP response about the pair's certificate."""
    serial = openssl("x509", "-in", pair.cert, "-noout", "-serial").decode().strip().partition("=")[2]
    index, request, response = (Path(folder, "ocsp." + end) for end in ("index", "request", "der"))
    index.write_text(f"V\t491231235959Z\t\t{serial}\tunknown\t/CN=a\n")
    openssl("ocsp", "-issuer", root.cert, "-cert", pair.cert, "-reqout", request, "-no_nonce")
    openssl("ocsp", "-index", index, "-CA", root.cert, "-rsigner", root.cert, "-rkey", root.key, "-reqin", request,
            "-ndays", 1, "-respout", response)
    return response


def is_stapled(address):
    host, port = address
    done = subprocess.run(["openssl", "s_client", "-status", "-connect", f"{host}:{port}", "-servername", "a.test"],
                          input=b"", capture_output=True, timeout=30)
    return b"Cert Status: good" in done.stdout


def test_a_staple_whose_file_breaks_is_served_on():
    with authority() as root:
        pair = root.issue("a")
        staple = staple_for(root, pair, root.folder)
        good = staple.read_bytes()
        with tls_sluice(root, tls=pair.tls(ocsp=str(staple))) as sluice:
            expect(is_stapled(sluice.address), "nothing is stapled")

            def told():
                return sluice.admin.show("events", type="certificates_not_loaded")

            for what, octets in (("garbage", b"garbage"), ("cut", good[:100]), ("empty", b""), ("gone", None)):
                before = len(told())
                staple.unlink()
                if octets is not None:
                    staple.write_bytes(octets)
                equal(sluice.admin.json("reload")["ok"], False, f"a reload, {what}")
                wait_until(lambda: len(told()) > before, what=f"the event, {what}")
                expect("what was loaded before stays in force" in told()[-1]["message"], f"{what}: {told()[-1]}")
                expect(is_stapled(sluice.address), f"nothing is stapled, {what}")
                equal(sluice.admin.json("reload")["ok"], False, f"a reload, {what}")
                expect(is_stapled(sluice.address), f"nothing is stapled after the reload, {what}")
                staple.write_bytes(good)
                sluice.admin.do("reload")
                expect(is_stapled(sluice.address), f"nothing is stapled once it is whole again, after {what}")
            equal(sluice.admin.show("events", type="certificates_loaded"), [], "what was told to be in force")


def test_what_was_renewed_is_told_and_nothing_else():
    with authority() as root:
        pairs = [root.issue("a"), root.issue("b", "DNS:b.test")]
        with tls_sluice(root, tls=[pair.tls() for pair in pairs]) as sluice:
            Path(pairs[0].cert).write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
            (event,) = wait_until(lambda: sluice.admin.show("events", type="certificates_not_loaded"), what="the event")
            expect("cut off or damaged" in event["message"], f"the event is {event}")
            equal(sluice.admin.show("events", type="certificates_loaded"), [], "what was told to be in force")


def test_a_key_of_a_kind_that_cannot_be_used_holds_back_no_other_pair():
    with authority() as root:
        pairs = [root.issue("a"), root.issue("b", "DNS:b.test")]
        with tls_sluice(root, tls=[pair.tls() for pair in pairs]) as sluice:
            before = [certificate_of(sluice.address, root, name) for name in ("a.test", "b.test")]
            parameters = Path(root.folder, "dsa.params")
            openssl("dsaparam", "-out", parameters, 1024)
            openssl("req", "-x509", "-newkey", f"dsa:{parameters}", "-nodes", "-subj", "/CN=a.test",
                    "-keyout", pairs[0].key, "-out", pairs[0].cert)
            root.issue("b", "DNS:b.test")
            wait_until(lambda: certificate_of(sluice.address, root, "b.test") != before[1], what="the new certificate")
            equal(certificate_of(sluice.address, root), before[0], "the certificate of the pair that broke")
            told = wait_until(lambda: sluice.admin.show("events", type="certificates_not_loaded"), what="the event")
            expect("keys of its kind cannot be used" in told[-1]["message"], f"the event is {told}")


def test_reload_changes_tls_and_keeps_the_socket():
    with authority() as root, Origin() as origin, tls_sluice(root, origin) as sluice:
        with TlsClient(sluice.address, root.trusting()) as old:
            old.get()
            sluice.write_config({"listener": [{"bind": "127.0.0.1:0",
                                               "tls": root.issue("b", "DNS:b.test").tls(min_version="1.3")}]})
            sluice.admin.do("reload")
            equal(old.get().status, 200, "on the connection from before")
        expect(certificate_of(sluice.address, root, "b.test"), "no certificate")
        sluice.write_config({"listener": [{"bind": "127.0.0.1:0"}]})
        sluice.admin.do("reload")
        equal(sluice.get().status, 200, "in the clear, at the same address")


def test_a_wrong_file_at_the_start_is_said():
    with authority() as root, Origin() as origin:
        broken = {"cert": root.cert, "key": root.issue("a").key}
        sluice = Sluice(origin, config={"listener": [{"bind": "127.0.0.1:0", "tls": broken}]})
        try:
            sluice.start()
            raise AssertionError("it started")
        except Exception as error:
            expect("does not belong" in str(error), f"it says {error}")
        finally:
            sluice._remove()


def test_certificates_are_shown_and_watched():
    with authority() as root:
        pairs = [root.issue("a", days=90).tls(), root.issue("soon", "DNS:b.test", days=10).tls(),
                 root.issue("past", "DNS:c.test", days=-1).tls()]
        with tls_sluice(root, tls=pairs) as sluice:
            shown = {one["subject"]: one for one in sluice.admin.show("certs")}
            states = {name: shown[f"CN={name}"]["state"] for name in ("a", "soon", "past")}
            equal(states, {"a": "valid", "soon": "expiring", "past": "expired"}, "the states")
            equal(shown["CN=a"]["names"], ["a.test"], "the names")
            expect(89 * 86400 < shown["CN=a"]["expires_in_s"] <= 90 * 86400, f"it expires in {shown['CN=a']}")
            wait_until(lambda: sluice.admin.show("events", type="certificate_expired"), what="the event")
            (event,) = sluice.admin.show("events", type="certificate_expiring")
            expect("CN=soon" in event["message"], f"the event is {event}")
            expect(metrics(sluice).count("sluice_certificate_expiry_seconds{") == 3, "the metric")


def test_a_certificate_that_is_used_twice_is_one_series():
    with authority() as root:
        soon, late = root.issue("soon", days=10), root.issue("late", "DNS:late.test", days=90)
        listeners = [{"bind": "127.0.0.1:0", "tls": [soon.tls(), soon.tls(), late.tls()]},
                     {"bind": "127.0.0.1:0", "tls": soon.tls()}]
        with tls_sluice(root, config={"listener": listeners}) as sluice:
            page = metrics(sluice)
            series = [line.rpartition(" ")[0] for line in page.splitlines() if line and not line.startswith("#")]
            equal([one for one in series if series.count(one) > 1], [], "the series that are told twice")
            expiry = sorted(one for one in series if one.startswith("sluice_certificate_expiry_seconds"))
            equal([Path(one.split('file="')[1].rstrip('"}')).name for one in expiry], ["late.crt", "soon.crt"],
                  "the certificates")


def test_keys_are_never_written_down():
    with authority() as root, tls_sluice(root, config={"log": {"level": "debug"}}) as sluice:
        certificate_of(sluice.address, root)
        key = Path(root.folder, "a.key").read_text()
        lines = [line for line in key.splitlines() if "-----" not in line]
        said = sluice.log() + sluice.admin.text("show config; show certs; show events") + metrics(sluice)
        expect(not any(line in said for line in lines), "a line of the key was written")


def test_keys_are_read_before_rights_are_given_up():
    if os.geteuid() != 0:
        raise Skipped("only root can become somebody")
    nobody = pwd.getpwnam("nobody")
    with authority() as root, Origin() as origin:
        pair = root.issue("a")
        sluice = Sluice(origin, config={"user": "nobody", "listener": [{"bind": "127.0.0.1:0", "tls": pair.tls()}]})
        for path in (sluice.folder, root.folder):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        os.chown(pair.key, 0, 0)
        os.chmod(pair.key, 0o600)
        with sluice:
            with TlsClient(sluice.address, root.trusting()) as client:
                equal(client.get().status, 200, "the status over a key of root's")
            pid = sluice.process.pid
            uids = re.search(r"Uid:(.*)", Path(f"/proc/{pid}/status").read_text())[1].split()
            equal(set(uids), {str(nobody.pw_uid)}, "who it is")
            sluice.admin.do("reload")
            with TlsClient(sluice.address, root.trusting()) as client:
                equal(client.get().status, 200, "the status after a reload that may not read it")


def memory_of(pid):
    """What the process may write to, piece by piece."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            begin, end, rights = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line).groups()
            if not rights.startswith("rw"):
                continue
            memory.seek(int(begin, 16))
            try:
                yield memory.read(int(end, 16) - int(begin, 16))
            except OSError:
                continue  # nothing is there


def test_the_text_of_a_key_is_wiped_once_it_has_been_read():
    if sanitized():
        raise Skipped("a sanitizer's shadow is no memory that could be read in finite time")
    with authority() as root:
        keys = []

        def issue():
            pair = root.issue("a", rsa=True)
            keys.append(Path(pair.key).read_text())
            # Far behind the beginning, where freed memory is not used again soon.
            Path(pair.key).write_text("what comes before the key\n" * 3000 + keys[-1])
            return pair
        with tls_sluice(root, tls=issue().tls()) as sluice:
            before = certificate_of(sluice.address, root)
            issue()
            wait_until(lambda: certificate_of(sluice.address, root) != before, what="the new certificate")
            path = f"{root.folder}/a.key".encode()
            wanted = {path: "what is there for sure"}
            for key in keys:
                lines = [line for line in key.splitlines() if "-----" not in line]
                octets = base64.b64decode("".join(lines))
                wanted |= {line.encode(): "a line" for line in lines[2:-1]}
                wanted |= {octets[at : at + 32]: "octets" for at in range(320, len(octets) - 64, 64)}
            found = {what: name for piece in memory_of(sluice.process.pid) for what, name in wanted.items()
                     if what in piece}
            equal(found.pop(path, None), "what is there for sure", "what is read of the process")
            equal(sorted(set(found.values())), [], f"what of a key is left in memory, in {len(found)} pieces")


if __name__ == "__main__":
    sys.exit(main(globals()))
