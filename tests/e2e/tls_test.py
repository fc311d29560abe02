#!/usr/bin/env python3
"""TLS with clients and servers that nobody here wrote: curl, openssl s_client,
h2load and wrk in front, nginx behind."""

import re
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "wire"))
from harness import CALM, Sluice, equal, expect, free_port, main  # noqa: E402
from http1 import proxy_error, wait_until  # noqa: E402
from origin import Origin  # noqa: E402
from tls import Authority, authority, openssl  # noqa: E402


@contextmanager
def nginx(pair, more=""):
    """nginx as an origin over TLS that answers "fine"."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="nginx-") as folder:
        Path(folder, "nginx.conf").write_text(f"""
            daemon off; pid {folder}/pid; worker_processes 1; error_log {folder}/error.log; user root;
            events {{ worker_connections 2000; }}
            http {{
              access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
              fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
              keepalive_requests 1000000;
              server {{
                listen 127.0.0.1:{port} ssl; ssl_certificate {pair.cert}; ssl_certificate_key {pair.key};
                {more}
                location / {{ return 200 "fine $ssl_session_reused $ssl_client_s_dn\\n"; }}
              }}
            }}""")
        process = subprocess.Popen(["nginx", "-c", f"{folder}/nginx.conf", "-e", f"{folder}/error.log"],
                                   stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            def answers():
                expect(process.poll() is None, lambda: f"nginx ended: {process.stderr.read()!r}")
                return subprocess.run(["curl", "-sk", f"https://127.0.0.1:{port}/"], capture_output=True).returncode == 0
            wait_until(answers, 20, "nginx")
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)
            process.stderr.close()


@contextmanager
def tls_sluice(root, tls=None, origin=None):
    config = {"listener": [{"bind": "127.0.0.1:0", "tls": tls or root.issue("a", "DNS:a.test,IP:127.0.0.1").tls()}]}
    with Origin() as own, Sluice(origin or own, config=config) as sluice:
        yield sluice


def run(*command, input=None, ok=True):
    done = subprocess.run([str(part) for part in command], input=input, capture_output=True, timeout=120)
    said = (done.stdout + done.stderr).decode(errors="replace")
    expect((done.returncode == 0) == ok, lambda: f"{command} ended with {done.returncode}:\n{said[-3000:]}")
    return said


def s_client(sluice, *options, ok=True):
    host, port = sluice.address
    ask = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
    return run("openssl", "s_client", "-connect", f"{host}:{port}", "-servername", "a.test", "-ign_eof", *options,
               input=ask, ok=ok)


def test_curl_by_every_version_and_suite():
    with authority() as root, tls_sluice(root) as sluice:
        url = f"https://127.0.0.1:{sluice.address[1]}/"
        curl = ["curl", "-sS", "--max-time", "60", "--cacert", root.cert]
        for version in ("1.2", "1.3"):
            said = run(*curl, f"--tlsv{version}", "--tls-max", version, "-w",
                       "%{http_code} %{http_version} %{ssl_verify_result}\n", "-o", "/dev/null", url,
                       "-o", "/dev/null", url)
            equal(said, "200 1.1 0\n" * 2, f"TLS {version}")
        run(*curl, "--tlsv1.1", "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0", url, ok=False)
        for suite in ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
                      "ECDHE-ECDSA-CHACHA20-POLY1305"):
            run(*curl, "--tls-max", "1.2", "--ciphers", suite, url)
        for suite in ("ECDHE-ECDSA-AES128-SHA", "AES128-GCM-SHA256", "DHE-RSA-AES128-GCM-SHA256"):
            run(*curl, "--tls-max", "1.2", "--ciphers", suite, url, ok=False)
        with tempfile.NamedTemporaryFile() as file:
            file.write(bytes(range(256)) * 40_000)
            file.flush()
            said = run(*curl, "-T", file.name, url + "up")
            equal(said, "PUT 10240000\n", "an upload")


def test_s_client_resumes_and_sees_the_staple():
    with authority() as root:
        pair = root.issue("a", "DNS:a.test")
        index = Path(root.folder, "index.txt")
        serial = openssl("x509", "-in", pair.cert, "-noout", "-serial").decode().strip().split("=")[1]
        index.write_text(f"V\t401231235959Z\t\t{serial}\tunknown\t/CN=a\n")
        staple = Path(root.folder, "a.ocsp")
        openssl("ocsp", "-index", index, "-CA", root.cert, "-rsigner", root.cert, "-rkey", root.key,
                "-issuer", root.cert, "-cert", pair.cert, "-ndays", 1, "-respout", staple)
        with tls_sluice(root, pair.tls(ocsp=str(staple))) as sluice:
            for version in ("-tls1_2", "-tls1_3"):
                session = Path(root.folder, "session" + version)
                said = s_client(sluice, version, "-CAfile", root.cert, "-status", "-alpn", "http/1.1",
                                "-verify_return_error", "-sess_out", session)
                expect("OCSP Response Status: successful" in said, f"no staple:\n{said[-3000:]}")
                expect("Cert Status: good" in said, f"the staple is not good:\n{said[-3000:]}")
                expect("ALPN protocol: http/1.1" in said and "HTTP/1.1 200" in said, f"no answer:\n{said[-3000:]}")
                said = s_client(sluice, version, "-CAfile", root.cert, "-sess_in", session)
                expect("Reused, TLSv1" in said, f"not resumed:\n{said[-3000:]}")
            said = s_client(sluice, "-tls1_2", "-CAfile", root.cert)
            expect("Secure Renegotiation IS supported" in said and "Compression: NONE" in said, said[-3000:])
            s_client(sluice, "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0", ok=False)


def test_client_certificates_of_curl():
    with authority() as root:
        clients = Authority(root.folder, "clients")
        known = clients.issue("app", "DNS:app.test")
        with Origin() as origin:
            tls = root.issue("a", "IP:127.0.0.1").tls(client_ca=clients.cert)
            with tls_sluice(root, tls, origin) as sluice:
                url = f"https://127.0.0.1:{sluice.address[1]}/"
                curl = ["curl", "-sS", "--max-time", "60", "--cacert", root.cert]
                run(*curl, "--cert", known.cert, "--key", known.key, url)
                equal(origin.requests[-1].get("x-client-cert-san"), "DNS:app.test", "the name")
                run(*curl, url, ok=False)
                equal(len(origin.requests), 1, "requests that arrived")


def test_nginx_behind_tls_is_verified():
    with authority() as root:
        other = Authority(root.folder, "other")
        ours = root.issue("sluice")
        cases = {
            "good": (root.issue("good", "IP:127.0.0.1"), None),
            "expired": (root.issue("old", "IP:127.0.0.1", days=-1), "expired"),
            "wrong name": (root.issue("wrong", "DNS:b.test"), "mismatch"),
            "self-signed": (other, "self"),
        }
        for what, (served, reason) in cases.items():
            tls = {"ca": root.cert, **ours.tls()}
            more = f"ssl_client_certificate {root.cert}; ssl_verify_client on;"
            with nginx(served, more) as address:
                blue = {"endpoints": [address], "tls": tls}
                with Sluice(address, service={**CALM, "blue": blue}, workers=1) as sluice:
                    got = sluice.get()
                    if reason is None:
                        expect(got.body.startswith(b"fine") and b"CN=sluice" in got.body, f"nginx says {got.body}")
                        continue
                    equal((got.status, proxy_error(got)), (502, "tls_certificate_error"), what)
                    expect(reason in got.get("proxy-status"), f"{what}: {got.get('proxy-status')}")


def test_wrk_and_h2load_over_tls_on_both_sides_see_no_error():
    seconds = 4
    with authority() as root, nginx(root.issue("o", "IP:127.0.0.1")) as address:
        listener = [{"bind": "127.0.0.1:0", "tls": root.issue("a", "IP:127.0.0.1").tls()}]
        blue = {"endpoints": [address], "tls": {"ca": root.cert}}
        with Sluice(address, service={"blue": blue}, config={"listener": listener}) as sluice:
            url = f"https://127.0.0.1:{sluice.address[1]}/"
            said = run("wrk", "-t1", "-c32", f"-d{seconds}", url)
            expect("Socket errors" not in said and "Non-2xx" not in said, f"wrk saw errors:\n{said}")
            expect(int(re.search(r"(\d+) requests in", said)[1]) > 0, f"wrk did nothing:\n{said}")
            said = run("h2load", "--h1", "-c32", "-t1", f"-D{seconds}", url)
            counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", said)
            expect(counts and int(counts[1]) > 0 and counts.groups()[1:] == ("0", "0", "0"), f"h2load:\n{said}")


if __name__ == "__main__":
    sys.exit(main(globals()))
