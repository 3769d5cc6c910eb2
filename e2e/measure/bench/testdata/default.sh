#!/bin/sh
# Any answer will do, as in kubeadm's documentation. By its number and not as
# localhost, so that the bench can count the requests.
fail() {
    echo "check_apiserver: $*" >&2
    exit 1
}
curl --silent --max-time 2 --insecure https://127.0.0.1:6443/ -o /dev/null || fail "no answer on 127.0.0.1"
if ip addr | grep -q 192.168.35.100; then
    curl --silent --max-time 2 --insecure https://192.168.35.100:6443/ -o /dev/null || fail "no answer on 192.168.35.100"
fi
