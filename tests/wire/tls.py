"""TLS for the wire tests: certificates made by openssl(1) on the spot, clients
by Python's ssl, and origins that speak TLS.

Authority("name", folder) is a root that issues pairs; a Pair has `cert` and
`key`, the paths of its PEM files. TlsClient is a Client over TLS. secured()
makes an Origin's script one that begins with a handshake.
"""

import shutil
import socket
import ssl
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from harness import Failure, Sluice
from http1 import Client, Wire
from origin import Origin, serve


def openssl(*arguments, input=None):
    done = subprocess.run(["openssl", *map(str, arguments)], input=input, capture_output=True, timeout=60)
    if done.returncode != 0:
        raise Failure(f"openssl {' '.join(map(str, arguments))}: {done.stderr.decode()}")
    return done.stdout


class Pair:
    def __init__(self, folder, name):
        self.cert, self.key = str(Path(folder, name + ".crt")), str(Path(folder, name + ".key"))

    def tls(self, **more):
        """For a listener's or an upstream's `tls`."""
        return {"cert": self.cert, "key": self.key, **more}


class Authority(Pair):
    def __init__(self, folder, name="root"):
        super().__init__(folder, name)
        self.folder = folder
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 30,
                "-subj", f"/CN={name}", "-keyout", self.key, "-out", self.cert)

    def issue(self, name, san="DNS:a.test", days=30, rsa=False, subject=None):
        """A pair in NAME.crt and NAME.key; `days` below zero: expired."""
        pair = Pair(self.folder, name)
        kind = ["rsa:2048"] if rsa else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        request = openssl("req", "-new", "-newkey", *kind, "-nodes", "-subj", subject or f"/CN={name}",
                          "-keyout", pair.key)
        extensions = Path(self.folder, name + ".ext")
        extensions.write_text(f"subjectAltName={san}\nbasicConstraints=CA:FALSE\n")
        # An end in the past needs a beginning before it, which x509 cannot say.
        openssl("x509", "-req", "-CA", self.cert, "-CAkey", self.key, "-CAcreateserial", "-days", days,
                "-extfile", extensions, "-out", pair.cert, input=request)
        return pair

    def trusting(self, minimum=ssl.TLSVersion.TLSv1_2, maximum=ssl.TLSVersion.TLSv1_3, alpn=("http/1.1",)):
        """A client's context that believes this root."""
        context = ssl.create_default_context(cafile=self.cert)
        context.minimum_version, context.maximum_version = minimum, maximum
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context


def serving(pair, client_ca=None):
    """A server's context."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca.cert)
    return context


class TlsClient(Client):
    def __init__(self, address, context, name="a.test", session=None, timeout=10.0):
        raw = socket.create_connection(address, timeout)
        try:
            sock = context.wrap_socket(raw, server_hostname=name, session=session)
        except BaseException:
            raw.close()
            raise
        Wire.__init__(self, sock, timeout)

    @property
    def certificate_names(self):
        return [value for _, value in self.sock.getpeercert()["subjectAltName"]]


def secured(context, script=serve):
    def run(connection):
        connection.sock.settimeout(30)
        connection.sock = context.wrap_socket(connection.sock, server_side=True)
        script(connection)
    return run


@contextmanager
def authority():
    """A root in a folder of its own, which goes with it."""
    folder = tempfile.mkdtemp(prefix="sluice-certs-")
    try:
        yield Authority(folder)
    finally:
        shutil.rmtree(folder)


@contextmanager
def tls_sluice(root, origin=None, tls=None, **more):
    """A sluice whose only listener speaks TLS as a.test."""
    settings = tls or root.issue("a").tls()
    config = {"listener": [{"bind": "127.0.0.1:0", "tls": settings}], **more.pop("config", {})}
    config["admin"] = {"http": "127.0.0.1:0"}
    if origin is not None:
        with Sluice(origin, config=config, **more) as sluice:
            yield sluice
        return
    with Origin(name="blue") as plain, Sluice(plain, config=config, **more) as sluice:
        yield sluice


def metrics(sluice):
    host, _, port = sluice.admin.show("info")[0]["admin_http"].rpartition(":")
    with Client((host, int(port))) as client:
        return client.get("/metrics", host="localhost").body.decode()
