#!/bin/sh
# Runs in a container before the roles: brings the schema up to date and makes the tokens that a new deployment needs. A token
# that is there already stays; harmless to repeat.
set -eu
config=/etc/fapo/fapo.toml

/usr/local/bin/fapo migrate --config "$config"

make_token() { # file, name, role
  if [ -s "$1" ]; then
    echo "the token $2 is there"
    return
  fi
  # only a whole token gets the file's name
  umask 077
  /usr/local/bin/fapo token create --config "$config" --name "$2" --role "$3" >"$1.new"
  mv "$1.new" "$1"
  echo "the token $2 was made"
}

make_token /var/lib/fapo-tokens/cluster.token cluster service
make_token /var/lib/fapo-admin/admin.token admin admin
