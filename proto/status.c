#include "proto/status.h"

const char *status_name(unsigned code) {
        switch (code) {
#define X(name, number, text)                                                                                          \
        case number: return #name;
                SVMD_STATUS_TABLE(X)
#undef X
        default: return "UNKNOWN";
        }
}

const char *status_text(unsigned code) {
        switch (code) {
#define X(name, number, text)                                                                                          \
        case number: return text;
                SVMD_STATUS_TABLE(X)
#undef X
        default: return "svmd answered with a code that this program does not know";
        }
}
