################################################################################
#
# otad
#
################################################################################

# The sources are the ones this file came with, by OTAD_OVERRIDE_SRCDIR in local.mk, or wherever you keep them:
#   OTAD_SITE = https://git.example.com/otad.git
#   OTAD_SITE_METHOD = git
OTAD_VERSION = 0.1.0
OTAD_LICENSE = Apache-2.0
OTAD_LICENSE_FILES = LICENSE
OTAD_DEPENDENCIES = c-ares cjson host-pkgconf libaio libcbor libconfig libcurl mosquitto openssl systemd
OTAD_CONF_OPTS = -Dtests=false -Dfuzzers=false -Dwerror=false

define OTAD_USERS
	otad -1 otad -1 * /var/lib/otad /bin/false - otad, over-the-air updates
endef

# What tmpfiles.d makes on a writable /etc; a read-only one needs it in the image.
define OTAD_PERMISSIONS
	/etc/otad/tls d 2750 root otad - - - - -
	/etc/otad/trust d 0755 root root - - - - -
endef

define OTAD_FOLDERS
	mkdir -p $(TARGET_DIR)/etc/otad/tls $(TARGET_DIR)/etc/otad/trust/ca $(TARGET_DIR)/etc/otad/hook.d
endef
OTAD_POST_INSTALL_TARGET_HOOKS += OTAD_FOLDERS

$(eval $(meson-package))
