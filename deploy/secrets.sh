#!/bin/sh
# Makes the passwords of a deployment by docker compose, once: what is there already stays. The folder is for its owner only; the
# files in it can be read by the users that the containers run as.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets
chmod 700 secrets

make() { # file, command that prints the secret
  if [ -s "secrets/$1" ]; then
    return
  fi
  shift_to=$1
  shift
  # no new line at the end: it would be part of the password
  printf '%s' "$("$@")" >"secrets/$shift_to"
  chmod 644 "secrets/$shift_to"
  echo "made deploy/secrets/$shift_to"
}

# letters and digits: nothing in it means anything in a URL
password() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
store_url() { echo "postgres://fapo:$(cat secrets/postgres_password)@postgres:5432/fapo"; }
queue_url() { echo "redis://:$(cat secrets/redis_password)@redis:6379/0"; }

make postgres_password password
make redis_password password
make grafana_password password
make store_url store_url
make queue_url queue_url
