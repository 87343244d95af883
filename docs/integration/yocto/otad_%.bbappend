# In a layer of your own: what makes otad the updater of this gateway. The files are yours, in files/ beside this one;
# conf/otad.conf, conf/boot/boot.conf and conf/hook/ of otad's sources are to begin with. Not here: the device's
# certificate and key, which differ from device to device and come by provisioning.
FILESEXTRAPATHS:prepend := "${THISDIR}/files:"
SRC_URI += "file://otad.conf file://boot.conf file://gateway-hook file://codesign.pem file://root-ca.pem"

do_install:append() {
    install -d -m 2750 -g otad ${D}${sysconfdir}/otad/tls
    install -d ${D}${sysconfdir}/otad/trust/ca ${D}${sysconfdir}/otad/hook.d
    install -m 0644 ${WORKDIR}/otad.conf ${D}${sysconfdir}/otad/otad.conf
    install -m 0644 ${WORKDIR}/boot.conf ${D}${sysconfdir}/otad/boot.conf
    install -m 0755 ${WORKDIR}/gateway-hook ${D}${sysconfdir}/otad/hook.d/gateway
    install -m 0644 ${WORKDIR}/codesign.pem ${D}${sysconfdir}/otad/trust/codesign.pem
    install -m 0640 -g otad ${WORKDIR}/root-ca.pem ${D}${sysconfdir}/otad/tls/root-ca.pem
}

CONFFILES:${PN} += "${sysconfdir}/otad/otad.conf"
RDEPENDS:${PN} += "grub-editenv"
