#include <string.h>

#include "policy/policy.h"

/*
 * The profiles that svmd comes with are files, profiles/NAME.conf. The table of them is made when svmd is built
 * (profiles.cmake), so that neither the daemon nor the simulator needs the files to run.
 */
const struct policy_profile *policy_profile_find(const char *name) {
        for (uint32_t i = 0; i < policy_profiles_count; i++)
                if (strcmp(policy_profiles[i].name, name) == 0)
                        return &policy_profiles[i];
        return NULL;
}

const struct policy_profile *policy_profile_default(void) {
        return policy_profile_find("balanced");
}
