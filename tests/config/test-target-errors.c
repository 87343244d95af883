#include "config-cases.h"

/* One line each: what a good file starts with. A line number in a message counts these. */
#define T "thing-name = \"t\";\n"
#define B "broker: { endpoint = \"e\"; };\n"

/* What is allowed where, as messages say it. */
#define AN_ABSOLUTE_PATH "an absolute path without empty, \".\" or \"..\" parts"
#define A_NAME           "1 to 64 letters, digits, '.', '_' and '-', the first a letter or a digit"
#define A_USER           "1 to 32 letters, digits, '.', '_' and '-', the first no '.' or '-'"
#define A_PATTERN        "a shell pattern of 1 to 128 bytes with at most three '*'"
#define A_MODE           "3 or 4 octal digits in quotes, such as \"0755\""
#define TARGETS          "( { ... }, ... ) with 1 to 16 groups"
#define SLOTS            "( { ... }, ... ) with 2 groups"

static const ConfigCase cases[] = {
        {T B "targets = ( {\n  name = \"a\"; kind = \"ab\"; } );\n",
         "x:4: targets[0].kind: unknown key; allowed: name, type, match, slots, boot, path, mode, owner, group, "
         "version"},
        {T B "targets = ( { name = \"a\"; type = \"ab\"; match = \"a\"; version: { file = \"/v\"; variable = \"V\"; "
             "}; } );\n",
         "x:3: targets[0].version.variable: unknown key; allowed: file, key"},
        {T B "targets = ( { name = \"a\"; type = \"ab\"; match = \"a\"; boot = \"/b\";\n slots = ( { name = \"A\"; "
             "device = \"/a\"; size = 1; },\n { name = \"B\"; device = \"/b\"; } ); } );\n",
         "x:4: targets[0].slots[0].size: unknown key; allowed: name, device"},
        {T B "targets = [ ];\n", "x:3: targets: is an array [ ]; allowed: " TARGETS},
        {T B "targets = ( );\n", "x:3: targets: has 0; allowed: " TARGETS},
        {T B "targets: { };\n", "x:3: targets: is a group; allowed: " TARGETS},
        {T B "targets = ( { name = \"app\"; type = \"file\"; match = \"app\"; path = \"/o/app\"; mode = \"0755\"; "
             "},\n  \"app\" );\n",
         "x:4: targets[1]: is a string; allowed: a group { ... }"},
        {T B "targets = ({ }, { }, { }, { }, { }, { }, { }, { }, { }, { }, { }, { }, { }, { }, { }, { }, { });\n",
         "x:3: targets: has 17; allowed: " TARGETS},
        {T B "targets = ({ type = \"file\"; match = \"app\"; path = \"/o/app\"; mode = \"0755\"; });\n",
         "x:3: targets[0].name: missing; allowed: " A_NAME},
        {T B "targets = ({ name = \"app\"; match = \"app\"; path = \"/o/app\"; mode = \"0755\"; });\n",
         "x:3: targets[0].type: missing; allowed: one of \"ab\", \"file\""},
        {T B "targets = ({ name = \"app\"; type = \"file\"; path = \"/o/app\"; mode = \"0755\"; });\n",
         "x:3: targets[0].match: missing; allowed: " A_PATTERN},
        {T B "targets = ({ name = \"app\"; type = \"file\"; match = \"app\"; mode = \"0755\"; });\n",
         "x:3: targets[0].path: missing; allowed: " AN_ABSOLUTE_PATH},
        {T B "targets = ({ name = \"app\"; type = \"file\"; match = \"app\"; path = \"/o/app\"; });\n",
         "x:3: targets[0].mode: missing; allowed: " A_MODE},
        {T B
         "targets = ({ name = \"app\"; type = \"bundle\"; match = \"app\"; path = \"/o/app\"; mode = \"0755\"; });\n",
         "x:3: targets[0].type: \"bundle\" is not allowed; allowed: one of \"ab\", \"file\""},
        {T B
         "targets = ({ name = \"-app\"; type = \"file\"; match = \"app\"; path = \"/o/app\"; mode = \"0755\"; });\n",
         "x:3: targets[0].name: \"-app\" is not allowed; allowed: " A_NAME},
        {T B
         "targets = ({ name = \"a/b\"; type = \"file\"; match = \"app\"; path = \"/o/app\"; mode = \"0755\"; });\n",
         "x:3: targets[0].name: \"a/b\" is not allowed; allowed: " A_NAME},
        {T B "targets = ({ name = \"app\"; type = \"file\"; match = \"\"; path = \"/o/app\"; mode = \"0755\"; });\n",
         "x:3: targets[0].match: \"\" is not allowed; allowed: " A_PATTERN},
        {T B "targets = ({ name = \"app\"; type = \"file\"; match = \"*a*b*c*\"; path = \"/o/app\"; mode = \"0755\"; "
             "});\n",
         "x:3: targets[0].match: \"*a*b*c*\" is not allowed; allowed: " A_PATTERN},
        {T B "targets = ({ name = \"app\"; type = \"file\"; match = "
             "\"mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm"
             "mmmmmmmmmmmmmmmmmmmmmmmmmmmm\"; path = \"/o/app\"; mode = \"0755\"; });\n",
         "x:3: targets[0].match: \"mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm\"... is not "
         "allowed; allowed: " A_PATTERN},
        {T B "targets = ({ name = \"app\"; type = \"file\"; match = \"app\"; path = \"app\"; mode = \"0755\"; });\n",
         "x:3: targets[0].path: \"app\" is not allowed; allowed: " AN_ABSOLUTE_PATH},
        {T B "targets = ({ name = \"app\"; type = \"file\"; match = \"app\"; path = \"/o/../app\"; mode = \"0755\"; "
             "});\n",
         "x:3: targets[0].path: \"/o/../app\" is not allowed; allowed: " AN_ABSOLUTE_PATH},
        {T B "targets = ({ name = \"app\"; type = \"file\"; match = \"app\"; path = \"/o/app\"; mode = \"75\"; });\n",
         "x:3: targets[0].mode: \"75\" is not allowed; allowed: " A_MODE},
        {T B
         "targets = ({ name = \"app\"; type = \"file\"; match = \"app\"; path = \"/o/app\"; mode = \"07555\"; });\n",
         "x:3: targets[0].mode: \"07555\" is not allowed; allowed: " A_MODE},
        {T B
         "targets = ({ name = \"app\"; type = \"file\"; match = \"app\"; path = \"/o/app\"; mode = \"0799\"; });\n",
         "x:3: targets[0].mode: \"0799\" is not allowed; allowed: " A_MODE},
        {T B "targets = ({ name = \"app\"; type = \"file\"; match = \"app\"; path = \"/o/app\"; mode = 0755; });\n",
         "x:3: targets[0].mode: is a whole number; allowed: " A_MODE},
        {T B
         "targets = ({ name = \"app\"; type = \"file\"; match = \"app\"; path = \"/o/app\"; mode = \"u=rwx\"; });\n",
         "x:3: targets[0].mode: \"u=rwx\" is not allowed; allowed: " A_MODE},
        {T B "targets = ({ name = \"app\"; type = \"file\"; match = \"app\"; path = \"/o/app\"; mode = \"0755\"; "
             "boot = \"/b\"; });\n",
         "x:3: targets[0].boot: is not for type \"file\"; allowed: only with type \"ab\""},
        {T B "targets = ({ name = \"app\"; type = \"file\"; match = \"app\"; path = \"/o/app\"; mode = \"0755\"; "
             "slots = ( { name = \"A\"; device = \"/a\"; }, { name = \"B\"; device = \"/b\"; } ); });\n",
         "x:3: targets[0].slots: is not for type \"file\"; allowed: only with type \"ab\""},
        {T B "targets = ({ name = \"app\"; type = \"file\"; match = \"app\"; path = \"/o/app\"; mode = \"0755\"; "
             "owner = \"a b\"; });\n",
         "x:3: targets[0].owner: \"a b\" is not allowed; allowed: " A_USER ", or empty"},
        {T B "targets = ({ name = \"app\"; type = \"file\"; match = \"app\"; path = \"/o/app\"; mode = \"0755\"; "
             "group = \".x\"; });\n",
         "x:3: targets[0].group: \".x\" is not allowed; allowed: " A_USER ", or empty"},
        {T B "targets = ({ name = \"app\"; type = \"file\"; match = \"app\"; path = \"/o/app\"; mode = \"0755\"; "
             "version: { file = \"/v\"; }; });\n",
         "x:3: targets[0].version.key: missing; allowed: both version.file and version.key, or none"},
        {T B "targets = ({ name = \"app\"; type = \"file\"; match = \"app\"; path = \"/o/app\"; mode = \"0755\"; "
             "version: { key = \"V\"; }; });\n",
         "x:3: targets[0].version.file: missing; allowed: both version.file and version.key, or none"},
        {T B "targets = ({ name = \"app\"; type = \"file\"; match = \"app\"; path = \"/o/app\"; mode = \"0755\"; "
             "version = \"1.0\"; });\n",
         "x:3: targets[0].version: is a string; allowed: a group { ... }"},
        {T B "targets = ({ name = \"app\"; type = \"file\"; match = \"app\"; path = \"/o/app\"; mode = \"0755\"; "
             "},\n{ name = \"app\"; type = \"file\"; match = \"app\"; path = \"/o/app\"; mode = \"0755\"; });\n",
         "x:4: targets[1].name: \"app\" is that of targets[0].name already; allowed: another"},
        {T B "targets = ({ name = \"app\"; type = \"file\"; match = \"app\"; path = \"/o/app\"; mode = \"0755\"; "
             "},\n{ name = \"b\"; type = \"file\"; match = \"app\"; path = \"/o/app\"; mode = \"0755\"; });\n",
         "x:4: targets[1].match: \"app\" is that of targets[0].match already; allowed: another"},
        {T B "targets = ({ name = \"app\"; type = \"file\"; match = \"app\"; path = \"/o/app\"; mode = \"0755\"; "
             "},\n{ name = \"b\"; type = \"file\"; match = \"b\"; path = \"/o/app\"; mode = \"0755\"; });\n",
         "x:4: targets[1].path: \"/o/app\" is that of targets[0].path already; allowed: another"},
        {T B "targets = ({ name = \"os\"; type = \"ab\"; match = \"os\"; slots = ( { name = \"A\"; device = \"/a\"; "
             "}, { name = \"B\"; device = \"/b\"; } ); });\n",
         "x:3: targets[0].boot: missing; allowed: " AN_ABSOLUTE_PATH},
        {T B "targets = ({ name = \"os\"; type = \"ab\"; match = \"os\"; boot = \"/boot\"; });\n",
         "x:3: targets[0].slots: missing; allowed: " SLOTS},
        {T B "targets = ({ name = \"os\"; type = \"ab\"; match = \"os\"; boot = \"/boot\"; slots = ( { name = \"A\"; "
             "device = \"/a\"; } ); });\n",
         "x:3: targets[0].slots: has 1; allowed: " SLOTS},
        {T B "targets = ({ name = \"os\"; type = \"ab\"; match = \"os\"; boot = \"/boot\"; slots = ( { name = \"A\"; "
             "device = \"/a\"; }, { name = \"B\"; device = \"/b\"; }, { name = \"C\"; device = \"/c\"; } ); });\n",
         "x:3: targets[0].slots: has 3; allowed: " SLOTS},
        {T B "targets = ({ name = \"os\"; type = \"ab\"; match = \"os\"; boot = \"/boot\"; slots = ( { name = \"A\"; "
             "device = \"/a\"; }, { name = \"A\"; device = \"/b\"; } ); });\n",
         "x:3: targets[0].slots[1].name: \"A\" is that of targets[0].slots[0].name already; allowed: another"},
        {T B "targets = ({ name = \"os\"; type = \"ab\"; match = \"os\"; boot = \"/boot\"; slots = ( { name = \"A\"; "
             "device = \"/a\"; }, { name = \"B\"; device = \"/a\"; } ); });\n",
         "x:3: targets[0].slots[1].device: \"/a\" is that of targets[0].slots[0].device already; allowed: another"},
        {T B "targets = ({ name = \"os\"; type = \"ab\"; match = \"os\"; boot = \"/boot\"; slots = ( { name = \"A\"; "
             "device = \"/a\"; }, { name = \"B\"; device = \"b\"; } ); });\n",
         "x:3: targets[0].slots[1].device: \"b\" is not allowed; allowed: " AN_ABSOLUTE_PATH},
        {T B "targets = ({ name = \"os\"; type = \"ab\"; match = \"os\"; boot = \"/boot\"; slots = ( { name = \"A\"; "
             "}, { name = \"B\"; device = \"/b\"; } ); });\n",
         "x:3: targets[0].slots[0].device: missing; allowed: " AN_ABSOLUTE_PATH},
        {T B "targets = ({ name = \"os\"; type = \"ab\"; match = \"os\"; boot = \"/boot\"; slots = ( { name = \"A\"; "
             "device = \"/a\"; }, { device = \"/b\"; } ); });\n",
         "x:3: targets[0].slots[1].name: missing; allowed: " A_NAME},
        {T B "targets = ({ name = \"os\"; type = \"ab\"; match = \"os\"; boot = \"/boot\"; slots = ( { name = \"A\"; "
             "device = \"/a\"; }, { name = \"b c\"; device = \"/b\"; } ); });\n",
         "x:3: targets[0].slots[1].name: \"b c\" is not allowed; allowed: " A_NAME},
        {T B "targets = ({ name = \"os\"; type = \"ab\"; match = \"os\"; boot = \"/boot\"; slots = ( { name = \"A\"; "
             "device = \"/a\"; }, { name = \"B\"; device = \"/b\"; } ); },\n{ name = \"os2\"; type = \"ab\"; match = "
             "\"os2\"; boot = \"/boot\"; slots = ( { name = \"A\"; device = \"/a\"; }, { name = \"B\"; device = "
             "\"/b\"; } ); });\n",
         "x:4: targets[1].slots[0].device: \"/a\" is that of targets[0].slots[0].device already; allowed: another"},
        {T B "targets = ({ name = \"os\"; type = \"ab\"; match = \"os\"; boot = \"/boot\"; slots = ( { name = \"A\"; "
             "device = \"/a\"; }, { name = \"B\"; device = \"/b\"; } ); },\n{ name = \"app\"; type = \"file\"; match "
             "= \"app\"; path = \"/b\"; mode = \"0755\"; });\n",
         "x:4: targets[1].path: \"/b\" is that of targets[0].slots[1].device already; allowed: another"},
        {T B "targets = ({ name = \"os\"; type = \"ab\"; match = \"os\"; path = \"/p\"; boot = \"/boot\"; slots = ( "
             "{ name = \"A\"; device = \"/a\"; }, { name = \"B\"; device = \"/b\"; } ); });\n",
         "x:3: targets[0].path: is not for type \"ab\"; allowed: only with type \"file\""},
        {T B "targets = ({ name = \"os\"; type = \"ab\"; match = \"os\"; mode = \"0644\"; boot = \"/boot\"; slots = "
             "( { name = \"A\"; device = \"/a\"; }, { name = \"B\"; device = \"/b\"; } ); });\n",
         "x:3: targets[0].mode: is not for type \"ab\"; allowed: only with type \"file\""},
        {T B "targets = ({ name = \"os\"; type = \"ab\"; match = \"os\"; boot = \"/boot\"; slots = ( { name = \"A\"; "
             "device = \"/a\"; }, { name = \"B\"; device = \"/b\"; } ); });\nhook: { script = \"\"; };\n",
         "x:4: hook.script: is empty, but target \"os\" of type \"ab\" needs its reboot stage; allowed: an absolute "
         "path"},
};

static void test_targets(void **state)
{
        check_config_cases(cases, ELEMENTSOF(cases));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_targets),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
