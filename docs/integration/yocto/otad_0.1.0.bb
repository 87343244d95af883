SUMMARY = "Over-the-air updates for embedded Linux, driven by AWS IoT Jobs"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"

# Where the sources are is the distribution's to say, for example in its conf:
#   OTAD_SRC_URI = "git://git.example.com/otad;protocol=https;branch=main"
#   OTAD_SRCREV = "..."
OTAD_SRC_URI ?= ""
OTAD_SRCREV ?= "INVALID"
SRC_URI = "${OTAD_SRC_URI}"
SRCREV = "${OTAD_SRCREV}"
S = "${WORKDIR}/git"

python () {
    if not d.getVar('OTAD_SRC_URI'):
        raise bb.parse.SkipRecipe('OTAD_SRC_URI is not set')
}

inherit meson pkgconfig systemd useradd features_check
REQUIRED_DISTRO_FEATURES = "systemd"

# oe-core: curl, libaio, openssl, systemd. meta-oe: c-ares, cjson, libcbor, libconfig. meta-networking: mosquitto.
DEPENDS = "c-ares cjson curl libaio libcbor libconfig mosquitto openssl systemd"

# "tests" builds the unit tests, for a look at them by meson in the work folder; nothing of them is installed.
PACKAGECONFIG ?= ""
PACKAGECONFIG[tests] = "-Dtests=true,-Dtests=false,cmocka"
EXTRA_OEMESON = "-Dfuzzers=false -Dwerror=false"

# Where there is a writable /etc at the first start, systemd-sysusers would make the user; a read-only root needs it before.
USERADD_PACKAGES = "${PN}"
USERADD_PARAM:${PN} = "--system --user-group --no-create-home --home-dir /var/lib/otad --shell /sbin/nologin otad"

SYSTEMD_SERVICE:${PN} = "otad.service otad-installer.socket otad-selftest.service"

# otad itself needs none of the boot loaders' tools; its boot scripts do. Add the one that is yours in a .bbappend:
#   RDEPENDS:${PN} += "grub-editenv"       /usr/lib/otad/boot/grub
#   RDEPENDS:${PN} += "libubootenv-bin"    /usr/lib/otad/boot/uboot
RDEPENDS:${PN} = "ca-certificates dbus"

FILES:${PN} += " \
    ${nonarch_libdir}/otad \
    ${nonarch_libdir}/sysusers.d/otad.conf \
    ${nonarch_libdir}/tmpfiles.d/otad.conf \
    ${nonarch_libdir}/systemd/catalog/otad.catalog \
    ${systemd_system_unitdir} \
    ${datadir}/dbus-1/system.d/org.otad1.conf \
    ${datadir}/polkit-1/actions/org.otad1.policy \
    ${datadir}/bash-completion/completions/otactl \
    ${datadir}/zsh/site-functions/_otactl \
"
CONFFILES:${PN} = "${sysconfdir}/otad/hook ${sysconfdir}/otad/boot.conf"
