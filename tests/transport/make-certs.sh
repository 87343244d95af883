#!/bin/sh
# Makes the certificates of the transport tests in the folder given: two authorities, a server under each name the tests
# need, a client. EC keys, for they are made in no time.
set -eu
cd "$1"

authority() {
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=$1" \
                -keyout "$1.key" -out "$1.pem" 2>/dev/null
}

# signed NAME AUTHORITY SUBJECT-ALT-NAMES
signed() {
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$1.key" -out "$1.csr" \
                2>/dev/null
        printf 'subjectAltName=%s\nauthorityKeyIdentifier=keyid\n' "$3" > "$1.ext"
        openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -days 30 -extfile "$1.ext" \
                -out "$1.pem" 2>/dev/null
}

authority ca
authority stranger
# A bundle as a distribution has it: others first, one of them of the same name.
mkdir namesake
(cd namesake && authority ca)
cat stranger.pem namesake/ca.pem ca.pem >bundle.pem
printf 'no certificate\n' >empty.pem

signed server ca 'DNS:localhost,DNS:broker.example,IP:127.0.0.1'
signed elsewhere ca 'DNS:elsewhere.example'
signed client ca 'DNS:gateway'
signed strange-client stranger 'DNS:gateway'
openssl ec -in client.key -aes128 -passout pass:secret -out locked.key 2>/dev/null
cp client.key open.key && chmod 0644 open.key
echo secret > passphrase && chmod 0600 passphrase
