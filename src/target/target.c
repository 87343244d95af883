#include "target/target.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "kind.h"

static const char *const type_words[] = {
        [TARGET_TYPE_AB] = "ab",
        [TARGET_TYPE_FILE] = "file",
};
_Static_assert(ELEMENTSOF(type_words) == _TARGET_TYPE_MAX, "one word for each type");

const char *target_type_to_string(TargetType type)
{
        assert((unsigned)type < _TARGET_TYPE_MAX);
        return type_words[type];
}

/* An absent text stays absent. */
static int copy_text(const char *text, char **ret)
{
        if (!text || !text[0])
                return 0;
        *ret = strdup(text);
        return *ret ? 0 : -ENOMEM;
}

static int fill_slots(Target *target, const TargetParams *params)
{
        int r;

        for (int i = 0; i < TARGET_N_SLOTS; i++) {
                const TargetSlotParams *slot = &params->slots[i];

                if (!slot->name || !slot->name[0] || !slot->device || slot->device[0] != '/')
                        return -EINVAL;
                r = copy_text(slot->name, &target->slot_names[i]);
                if (r < 0)
                        return r;
                r = copy_text(slot->device, &target->slot_devices[i]);
                if (r < 0)
                        return r;
                target->boot.slots[i] = target->slot_names[i];
        }
        if (strcmp(target->slot_names[0], target->slot_names[1]) == 0 || !params->boot_script ||
            params->boot_script[0] != '/')
                return -EINVAL;
        r = copy_text(params->boot_script, &target->boot_path);
        if (r < 0)
                return r;
        target->boot.path = target->boot_path;
        target->boot.timeout_usec = params->boot_timeout_usec;
        target->kind = &target_kind_slot;
        return 0;
}

static char *name_beside(const char *file_name, const char *what)
{
        char *name;

        return asprintf(&name, ".%s.otad-%s", file_name, what) < 0 ? NULL : name;
}

static int fill_file(Target *target, const TargetParams *params)
{
        const char *slash;
        int r;

        if (!params->path || params->path[0] != '/' || (params->mode & ~(mode_t)07777) != 0)
                return -EINVAL;
        r = copy_text(params->path, &target->path);
        if (r < 0)
                return r;
        slash = strrchr(target->path, '/');
        target->file_name = slash + 1;
        /* The longest of our names beside it must be one the file system takes. */
        if (!target->file_name[0] || strcmp(target->file_name, ".") == 0 || strcmp(target->file_name, "..") == 0 ||
            strlen(target->file_name) + strlen("..otad-none") > NAME_MAX)
                return -EINVAL;
        target->directory =
                slash == target->path ? strdup("/") : strndup(target->path, (size_t)(slash - target->path));
        target->new_name = name_beside(target->file_name, "new");
        target->old_name = name_beside(target->file_name, "old");
        target->none_name = name_beside(target->file_name, "none");
        if (!target->directory || !target->new_name || !target->old_name || !target->none_name)
                return -ENOMEM;
        if (asprintf(&target->staged_path, "%.*s/%s", (int)(slash - target->path), target->path, target->new_name) <
            0) {
                target->staged_path = NULL;
                return -ENOMEM;
        }
        target->mode = params->mode;
        target->keep_free = params->keep_free;
        r = copy_text(params->owner, &target->owner);
        if (r < 0)
                return r;
        r = copy_text(params->group, &target->group);
        if (r < 0)
                return r;
        target->kind = &target_kind_file;
        return 0;
}

int target_new(const TargetParams *params, Target **ret)
{
        _cleanup_(target_freep) Target *target = calloc(1, sizeof(*target));
        int r = -EINVAL;

        if (!target)
                return -ENOMEM;
        target->type = params->type;
        if (!params->name || !params->name[0])
                return -EINVAL;
        r = copy_text(params->name, &target->name);
        if (r < 0)
                return r;
        r = params->type == TARGET_TYPE_AB ? fill_slots(target, params) : fill_file(target, params);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(target);
        return 0;
}

Target *target_free(Target *target)
{
        if (!target)
                return NULL;
        for (int i = 0; i < TARGET_N_SLOTS; i++) {
                free(target->slot_names[i]);
                free(target->slot_devices[i]);
        }
        free(target->boot_path);
        free(target->path);
        free(target->directory);
        free(target->staged_path);
        free(target->new_name);
        free(target->old_name);
        free(target->none_name);
        free(target->owner);
        free(target->group);
        free(target->name);
        free(target);
        return NULL;
}

const char *target_name(const Target *target)
{
        return target->name;
}

TargetType target_type(const Target *target)
{
        return target->type;
}

const char *target_slot_name(const Target *target, int slot)
{
        return slot < 0 || slot >= TARGET_N_SLOTS ? NULL : target->slot_names[slot];
}

const char *target_slot_device(const Target *target, int slot)
{
        return slot < 0 || slot >= TARGET_N_SLOTS ? NULL : target->slot_devices[slot];
}

int target_slot_from_name(const Target *target, const char *name)
{
        for (int i = 0; i < TARGET_N_SLOTS; i++)
                if (target->slot_names[i] && strcmp(target->slot_names[i], name) == 0)
                        return i;
        return -ENOENT;
}

const BootScript *target_boot_script(const Target *target)
{
        return target->type == TARGET_TYPE_AB ? &target->boot : NULL;
}

const char *target_path(const Target *target)
{
        return target->path;
}

const char *target_staged_path(const Target *target)
{
        return target->staged_path;
}

int target_check(const Target *target, Failure *reterr)
{
        return target->kind->check(target, reterr);
}

int target_activate(const Target *target, Failure *reterr)
{
        return target->kind->activate ? target->kind->activate(target, reterr) : 0;
}

int target_roll_back(const Target *target, Failure *reterr)
{
        return target->kind->roll_back ? target->kind->roll_back(target, reterr) : 0;
}

int target_commit(const Target *target, Failure *reterr)
{
        return target->kind->commit ? target->kind->commit(target, reterr) : 0;
}

int target_discard(const Target *target, Failure *reterr)
{
        return target->kind->discard ? target->kind->discard(target, reterr) : 0;
}
