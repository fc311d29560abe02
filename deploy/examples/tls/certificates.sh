#!/bin/sh
# certificates.sh FOLDER: two roots, one that clients believe and one for
# inside, and a pair each for the listener, for the origins and for sluice.
set -eu
cd "$1"

request() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "$@" 2>/dev/null
}
root() { # NAME
  request -x509 -days 30 -subj "/CN=$1" -keyout "$1.key" -out "$1.crt"
}
pair() { # ROOT NAME HOST
  request -new -subj "/CN=$2" -keyout "$2.key" -out "$2.csr"
  printf 'subjectAltName=DNS:%s\nbasicConstraints=CA:FALSE\n' "$3" >"$2.ext"
  openssl x509 -req -CA "$1.crt" -CAkey "$1.key" -CAcreateserial -days 30 -in "$2.csr" -extfile "$2.ext" \
    -out "$2.crt" 2>/dev/null
}

root public
root inside
pair public shop shop.example.com
pair inside origin web.internal
pair inside sluice sluice.internal
