#!/bin/sh
# Install what Debian has, saying so first. `dials` is optional: without it the demo goes on.
#   sh deployments/debian.sh venv | dials | services | sistr FOLDER
set -u

can_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

install() {
    log=$(mktemp)
    if DEBIAN_FRONTEND=noninteractive apt-get update >"$log" 2>&1 &&
        DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$@" >>"$log" 2>&1
    then
        rm -f "$log"
    else
        tail -n 15 "$log" >&2
        echo "apt-get could not install $*; its log is $log" >&2
        return 1
    fi
}

case "${1-}" in
venv)
    if can_install; then
        echo "Python's venv is missing: installing Debian's package python3-venv ..."
        install python3-venv
    else
        echo "Python's venv is missing: install Debian's package python3-venv." >&2
        exit 1
    fi
    ;;
dials)
    command -v dials.index >/dev/null && exit 0
    if can_install; then
        echo "DIALS is missing: installing Debian's package dials (about 4 minutes, 3 GB) ..."
        install dials || echo "Going on without DIALS: its programs will be replayed."
    else
        echo "DIALS is missing and you are not root: its programs will be replayed, from a"
        echo "recording of the real ones on this same input."
    fi
    ;;
services)
    can_install || { echo "make services needs root and apt-get." >&2; exit 1; }
    echo "Installing DIALS, MariaDB, PostgreSQL, RabbitMQ, Chromium, and the programs that assemble and"
    echo "type bacteria, from Debian (about 6 minutes) ..."
    # Without this, Debian starts a cluster of PostgreSQL on its port; the tests start their own.
    mkdir -p /etc/postgresql-common
    [ -e /etc/postgresql-common/createcluster.conf ] ||
        echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
    install dials mariadb-server postgresql rabbitmq-server chromium fonts-dejavu-core \
        fastp spades skesa megahit minimap2 samtools kraken2 sra-toolkit ncbi-blast+ pilercr prodigal || exit 1
    dials.version && mariadbd --version && chromium --version && spades.py --version
    ;;
sistr)
    # SISTR wants libraries of its own, and comes with 350 MB of Salmonella.
    folder=${2:?usage: debian.sh sistr FOLDER}
    [ -x "$folder/bin/sistr" ] && cmp -s deployments/sistr.lock "$folder/.lock" && exit 0
    echo "Installing SISTR into $folder (about a minute, 700 MB) ..."
    rm -rf "$folder" && "${PYTHON:-python3}" -m venv "$folder" &&
        "$folder/bin/pip" install --quiet --quiet --no-deps --requirement deployments/sistr.lock &&
        cp deployments/sistr.lock "$folder/.lock"
    ;;
*)
    echo "usage: debian.sh venv | dials | services | sistr FOLDER" >&2
    exit 2
    ;;
esac
