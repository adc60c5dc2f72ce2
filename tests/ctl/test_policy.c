/* What svmd goes by: set and taken back in the words of svmd.conf, shown, and read again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "expect.h"
#include "machine.h"

static void expect_set(const char *line, const char *asked) {
        fake.set_asked[0] = 0;
        expect(line, 0, "", "");
        assert_string_equal(fake.set_asked, asked);
        machine_again();
}

static void expect_wrong(const char *line, const char *why) {
        fake.set_asked[0] = 0;
        expect(line, 2, "", why);
        assert_string_equal(fake.set_asked, "");
        machine_again();
}

static void test_set(void **state) {
        expect_set("policy set policy=latency", "set 0 -:- latency 0;");
        expect_set("policy set partition-policy=train=pinned partition-rate=*=1.5G",
                   "set 1 train:- pinned 0;set 2 *:- - 1610612736;");
        expect_set("policy set link-rate=gpu0:host0=8M", "set 3 gpu0:host0 - 8388608;");
        expect_set("policy set link-rate=*:*=0", "set 3 *:* - 0;");
        expect_set("policy unset policy link-rate=gpu0:host0 partition-rate=train",
                   "unset 0 -:-;unset 3 gpu0:host0;unset 2 train:-;");
}

static void test_set_json(void **state) {
        struct json_object *o = run_json("policy set policy=latency partition-rate=*=1M --json", 0);

        expect_json(o, "set", "true");
        expect_json(o, "settings.1", "partition-rate=*=1M");
        json_object_put(o);
        machine_again();
        o = run_json("policy unset policy --json", 0);
        expect_json(o, "set", "false");
        json_object_put(o);
}

/* Nothing is said where one of them is wrong. */
static void test_wrong(void **state) {
        expect_wrong("policy set policy=latency speed=high",
                     "svmd-ctl: 'speed=high': expected policy, partition-policy, partition-rate or link-rate, as in "
                     "svmd.conf(5)\n");
        expect_wrong("policy set policy", "svmd-ctl: 'policy': expected policy=NAME\n");
        expect_wrong("policy set policy=", "svmd-ctl: 'policy=': expected policy=NAME\n");
        expect_wrong("policy set partition-policy=train",
                     "svmd-ctl: 'partition-policy=train': expected partition-policy=PARTITION=NAME\n");
        expect_wrong("policy set link-rate=gpu0=1G",
                     "svmd-ctl: 'link-rate=gpu0=1G': expected link-rate=NODE:NODE=SIZE\n");
        expect_wrong("policy set link-rate=:host0=1G",
                     "svmd-ctl: 'link-rate=:host0=1G': expected link-rate=NODE:NODE=SIZE\n");
        expect_wrong("policy unset partition-rate=train=1G",
                     "svmd-ctl: 'partition-rate=train=1G': expected partition-rate=PARTITION\n");
        expect_wrong("policy unset link-rate", "svmd-ctl: 'link-rate': expected link-rate=NODE:NODE\n");
        fake.code = SVMD_E_NO_SUCH;
        fake.error = "there is no partition train";
        expect("policy set partition-policy=train=pinned", 1, "", "svmd-ctl: there is no partition train\n");
}

static void test_show(void **state) {
        static const struct svmd_setting_row rows[] = {
                { SVMD_SETTING_POLICY, "", "", "balanced", 0, 0, 0, 0 },
                { SVMD_SETTING_PARTITION_RATE, "*", "", "", 1 << 20, 0, 0, 0 },
                { SVMD_SETTING_LINK_RATE, "gpu0", "host0", "", 0, 1, 1700000000000000000, 0 },
        };
        struct json_object *o;

        fake.settings = rows;
        fake.settings_count = 3;
        expect_part("policy show", 0,
                    "SETTING        OF         VALUE    SAID BY           SINCE\n"
                    "policy         -          balanced the configuration -\n"
                    "partition-rate *          1 MiB/s  the configuration -\n"
                    "link-rate      gpu0:host0 no cap   root              2023-11-1",
                    "");
        o = run_json("policy show --json", 0);
        expect_json(o, "0.setting", "policy");
        expect_json(o, "0.policy", "balanced");
        expect_json(o, "0.set", "false");
        expect_json(o, "1.partition", "*");
        expect_json(o, "1.rate", "1048576");
        expect_json(o, "2.node", "gpu0");
        expect_json(o, "2.other", "host0");
        expect_json(o, "2.set_ns", "1700000000000000000");
        json_object_put(o);
}

static void test_reload(void **state) {
        struct json_object *o;

        expect("reload", 0, "Changed: nothing\n", "");
        fake.reloaded[0] = "policy";
        fake.reloaded[1] = "link-rate";
        fake.needs_restart[0] = "machine";
        expect("reload", 0, "Changed: policy, link-rate\nNeeds a restart of svmd to change: machine\n", "");
        o = run_json("reload --json", 0);
        expect_json(o, "changed.1", "link-rate");
        expect_json(o, "needs_restart.0", "machine");
        json_object_put(o);
        fake.code = SVMD_E_INVALID;
        fake.error = "nothing was changed: /etc/svmd/svmd.conf:3: expected on or off";
        expect("reload", 1, "", "svmd-ctl: nothing was changed: /etc/svmd/svmd.conf:3: expected on or off\n");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup(name, machine_setup)
        const struct CMUnitTest tests[] = { TEST(test_set), TEST(test_set_json), TEST(test_wrong), TEST(test_show),
                                            TEST(test_reload) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
