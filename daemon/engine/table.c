#include "engine/managed.h"

/*
 * What happens to a granule in which state. docs/managed.md shows the same table; a test compares the two.
 *
 * COPYING to CONTINUING are passed through by one change at a time, and nothing else is begun meanwhile: what is asked
 * then waits in the granule's queue. So does what is asked of EMPTY, RESIDENT, OUT, DUPLICATED and REVOKED while a
 * change is being prepared or ended there. The names of the faults are hints: a cell follows from the state alone,
 * except that DUPLICATED has to tell a write from a read, and a read that was none comes back as a write. "To host" is
 * to another host than the one where it lies: that is looked at first.
 */
/* A row for each event. */
static enum managed_action on_empty(enum managed_event event) {
        switch (event) {
        case MANAGED_FAULT_READ:
        case MANAGED_FAULT_WRITE:
        case MANAGED_FAULT_MINOR: return MANAGED_FILL;
        case MANAGED_TO_HOST:
        case MANAGED_TO_NODE:
        case MANAGED_DISCARD: return MANAGED_NOTHING;
        case MANAGED_REVOKE: return MANAGED_TAKE;
        case MANAGED_UNREVOKE: return MANAGED_CLEAR;
        case MANAGED_DEVICE_READ:
        case MANAGED_DEVICE_WRITE: return MANAGED_PLACE;
        case MANAGED_PIN: return MANAGED_FILL;
        case MANAGED_UNDUPLICATE:
        case MANAGED_JOIN:
        case MANAGED_SESSION_END: return MANAGED_NOTHING;
        case MANAGED_RESTART: return MANAGED_PUNCH_AGAIN;
        case _MANAGED_EVENT_N: break;
        }
        return _MANAGED_ACTION_N;
}

static enum managed_action on_resident(enum managed_event event) {
        switch (event) {
        case MANAGED_FAULT_READ:
        case MANAGED_FAULT_WRITE:
        case MANAGED_FAULT_MINOR: return MANAGED_MAP;
        case MANAGED_TO_HOST:
        case MANAGED_TO_NODE: return MANAGED_COPY;
        case MANAGED_DISCARD: return MANAGED_PUNCH;
        case MANAGED_REVOKE: return MANAGED_COPY;
        case MANAGED_UNREVOKE: return MANAGED_CLEAR;
        case MANAGED_DEVICE_READ:
        case MANAGED_DEVICE_WRITE: return MANAGED_ASK;
        case MANAGED_PIN:
        case MANAGED_UNDUPLICATE:
        case MANAGED_JOIN:
        case MANAGED_SESSION_END:
        case MANAGED_RESTART: return MANAGED_NOTHING;
        case _MANAGED_EVENT_N: break;
        }
        return _MANAGED_ACTION_N;
}

static enum managed_action on_copying(enum managed_event event) {
        switch (event) {
        case MANAGED_FAULT_READ:
        case MANAGED_FAULT_WRITE:
        case MANAGED_FAULT_MINOR:
        case MANAGED_TO_HOST:
        case MANAGED_TO_NODE:
        case MANAGED_DISCARD:
        case MANAGED_REVOKE:
        case MANAGED_UNREVOKE:
        case MANAGED_DEVICE_READ:
        case MANAGED_DEVICE_WRITE:
        case MANAGED_PIN:
        case MANAGED_UNDUPLICATE: return MANAGED_WAIT;
        case MANAGED_JOIN: return MANAGED_PROTECT;
        case MANAGED_SESSION_END: return MANAGED_GO_ON;
        case MANAGED_RESTART: return MANAGED_ABANDON;
        case _MANAGED_EVENT_N: break;
        }
        return _MANAGED_ACTION_N;
}

static enum managed_action on_punching(enum managed_event event) {
        switch (event) {
        case MANAGED_FAULT_READ:
        case MANAGED_FAULT_WRITE:
        case MANAGED_FAULT_MINOR:
        case MANAGED_TO_HOST:
        case MANAGED_TO_NODE:
        case MANAGED_DISCARD:
        case MANAGED_REVOKE:
        case MANAGED_UNREVOKE:
        case MANAGED_DEVICE_READ:
        case MANAGED_DEVICE_WRITE:
        case MANAGED_PIN:
        case MANAGED_UNDUPLICATE: return MANAGED_WAIT;
        case MANAGED_JOIN: return MANAGED_PROTECT;
        case MANAGED_SESSION_END: return MANAGED_GO_ON;
        case MANAGED_RESTART: return MANAGED_PUNCH_AGAIN;
        case _MANAGED_EVENT_N: break;
        }
        return _MANAGED_ACTION_N;
}

static enum managed_action on_out(enum managed_event event) {
        switch (event) {
        case MANAGED_FAULT_READ:
        case MANAGED_FAULT_WRITE:
        case MANAGED_FAULT_MINOR:
        case MANAGED_TO_HOST: return MANAGED_FILL;
        case MANAGED_TO_NODE: return MANAGED_MOVE;
        case MANAGED_DISCARD: return MANAGED_FORGET;
        case MANAGED_REVOKE: return MANAGED_TAKE;
        case MANAGED_UNREVOKE: return MANAGED_CLEAR;
        case MANAGED_DEVICE_READ:
        case MANAGED_DEVICE_WRITE: return MANAGED_ASK;
        case MANAGED_PIN: return MANAGED_FILL;
        case MANAGED_UNDUPLICATE:
        case MANAGED_JOIN:
        case MANAGED_SESSION_END:
        case MANAGED_RESTART: return MANAGED_NOTHING;
        case _MANAGED_EVENT_N: break;
        }
        return _MANAGED_ACTION_N;
}

static enum managed_action on_filling(enum managed_event event) {
        switch (event) {
        case MANAGED_FAULT_READ:
        case MANAGED_FAULT_WRITE:
        case MANAGED_FAULT_MINOR:
        case MANAGED_TO_HOST:
        case MANAGED_TO_NODE:
        case MANAGED_DISCARD:
        case MANAGED_REVOKE:
        case MANAGED_UNREVOKE:
        case MANAGED_DEVICE_READ:
        case MANAGED_DEVICE_WRITE:
        case MANAGED_PIN:
        case MANAGED_UNDUPLICATE: return MANAGED_WAIT;
        case MANAGED_JOIN: return MANAGED_PROTECT;
        case MANAGED_SESSION_END: return MANAGED_GO_ON;
        case MANAGED_RESTART: return MANAGED_FILL_AGAIN;
        case _MANAGED_EVENT_N: break;
        }
        return _MANAGED_ACTION_N;
}

static enum managed_action on_writing(enum managed_event event) {
        switch (event) {
        case MANAGED_FAULT_READ:
        case MANAGED_FAULT_WRITE:
        case MANAGED_FAULT_MINOR:
        case MANAGED_TO_HOST:
        case MANAGED_TO_NODE:
        case MANAGED_DISCARD:
        case MANAGED_REVOKE:
        case MANAGED_UNREVOKE:
        case MANAGED_DEVICE_READ:
        case MANAGED_DEVICE_WRITE:
        case MANAGED_PIN:
        case MANAGED_UNDUPLICATE: return MANAGED_WAIT;
        case MANAGED_JOIN: return MANAGED_PROTECT;
        case MANAGED_SESSION_END: return MANAGED_GO_ON;
        case MANAGED_RESTART: return MANAGED_WRITE_AGAIN;
        case _MANAGED_EVENT_N: break;
        }
        return _MANAGED_ACTION_N;
}

static enum managed_action on_continuing(enum managed_event event) {
        switch (event) {
        case MANAGED_FAULT_READ:
        case MANAGED_FAULT_WRITE:
        case MANAGED_FAULT_MINOR:
        case MANAGED_TO_HOST:
        case MANAGED_TO_NODE:
        case MANAGED_DISCARD:
        case MANAGED_REVOKE:
        case MANAGED_UNREVOKE:
        case MANAGED_DEVICE_READ:
        case MANAGED_DEVICE_WRITE:
        case MANAGED_PIN:
        case MANAGED_UNDUPLICATE: return MANAGED_WAIT;
        case MANAGED_JOIN: return MANAGED_PROTECT;
        case MANAGED_SESSION_END: return MANAGED_GO_ON;
        case MANAGED_RESTART: return MANAGED_FINISH;
        case _MANAGED_EVENT_N: break;
        }
        return _MANAGED_ACTION_N;
}

static enum managed_action on_duplicated(enum managed_event event) {
        switch (event) {
        case MANAGED_FAULT_READ: return MANAGED_MAP_READ;
        case MANAGED_FAULT_WRITE: return MANAGED_DROP;
        case MANAGED_FAULT_MINOR: return MANAGED_MAP_READ;
        case MANAGED_TO_HOST:
        case MANAGED_TO_NODE:
        case MANAGED_DISCARD:
        case MANAGED_REVOKE:
        case MANAGED_UNREVOKE: return MANAGED_DROP;
        case MANAGED_DEVICE_READ: return MANAGED_ASK;
        case MANAGED_DEVICE_WRITE:
        case MANAGED_PIN:
        case MANAGED_UNDUPLICATE: return MANAGED_DROP;
        case MANAGED_JOIN: return MANAGED_PROTECT;
        case MANAGED_SESSION_END: return MANAGED_NOTHING;
        case MANAGED_RESTART: return MANAGED_ABANDON;
        case _MANAGED_EVENT_N: break;
        }
        return _MANAGED_ACTION_N;
}

static enum managed_action on_revoked(enum managed_event event) {
        switch (event) {
        case MANAGED_FAULT_READ:
        case MANAGED_FAULT_WRITE:
        case MANAGED_FAULT_MINOR: return MANAGED_BLOCK;
        case MANAGED_TO_HOST: return MANAGED_REFUSE;
        case MANAGED_TO_NODE: return MANAGED_MOVE;
        case MANAGED_DISCARD: return MANAGED_REFUSE;
        case MANAGED_REVOKE: return MANAGED_NOTHING;
        case MANAGED_UNREVOKE: return MANAGED_RETURN;
        case MANAGED_DEVICE_READ:
        case MANAGED_DEVICE_WRITE:
        case MANAGED_PIN: return MANAGED_REFUSE;
        case MANAGED_UNDUPLICATE: return MANAGED_NOTHING;
        case MANAGED_JOIN: return MANAGED_PROTECT;
        case MANAGED_SESSION_END:
        case MANAGED_RESTART: return MANAGED_NOTHING;
        case _MANAGED_EVENT_N: break;
        }
        return _MANAGED_ACTION_N;
}

enum managed_action managed_action(enum residency state, enum managed_event event) {
        switch (state) {
        case RESIDENCY_EMPTY: return on_empty(event);
        case RESIDENCY_RESIDENT: return on_resident(event);
        case RESIDENCY_COPYING: return on_copying(event);
        case RESIDENCY_PUNCHING: return on_punching(event);
        case RESIDENCY_OUT: return on_out(event);
        case RESIDENCY_FILLING: return on_filling(event);
        case RESIDENCY_WRITING: return on_writing(event);
        case RESIDENCY_CONTINUING: return on_continuing(event);
        case RESIDENCY_DUPLICATED: return on_duplicated(event);
        case RESIDENCY_REVOKED: return on_revoked(event);
        }
        return _MANAGED_ACTION_N;
}

const char *managed_state_name(enum residency x) {
        static const char *const names[] = {
                [RESIDENCY_EMPTY] = "EMPTY",
                [RESIDENCY_RESIDENT] = "RESIDENT",
                [RESIDENCY_COPYING] = "COPYING",
                [RESIDENCY_PUNCHING] = "PUNCHING",
                [RESIDENCY_OUT] = "OUT",
                [RESIDENCY_FILLING] = "FILLING",
                [RESIDENCY_WRITING] = "WRITING",
                [RESIDENCY_CONTINUING] = "CONTINUING",
                [RESIDENCY_DUPLICATED] = "DUPLICATED",
                [RESIDENCY_REVOKED] = "REVOKED",
        };

        return names[x];
}

const char *managed_event_name(enum managed_event x) {
        static const char *const names[] = {
                [MANAGED_FAULT_READ] = "fault read",
                [MANAGED_FAULT_WRITE] = "fault write",
                [MANAGED_FAULT_MINOR] = "fault minor",
                [MANAGED_TO_HOST] = "to host",
                [MANAGED_TO_NODE] = "to node",
                [MANAGED_DISCARD] = "discard",
                [MANAGED_REVOKE] = "revoke",
                [MANAGED_UNREVOKE] = "unrevoke",
                [MANAGED_DEVICE_READ] = "device read",
                [MANAGED_DEVICE_WRITE] = "device write",
                [MANAGED_PIN] = "pin",
                [MANAGED_UNDUPLICATE] = "unduplicate",
                [MANAGED_JOIN] = "join",
                [MANAGED_SESSION_END] = "session end",
                [MANAGED_RESTART] = "restart",
        };

        return names[x];
}

const char *managed_action_name(enum managed_action x) {
        static const char *const names[] = {
                [MANAGED_NOTHING] = "nothing",
                [MANAGED_WAIT] = "wait",
                [MANAGED_FILL] = "fill",
                [MANAGED_MAP] = "map",
                [MANAGED_MAP_READ] = "map read",
                [MANAGED_COPY] = "copy",
                [MANAGED_MOVE] = "move",
                [MANAGED_PUNCH] = "punch",
                [MANAGED_FORGET] = "forget",
                [MANAGED_DROP] = "drop",
                [MANAGED_TAKE] = "take",
                [MANAGED_BLOCK] = "block",
                [MANAGED_RETURN] = "return",
                [MANAGED_CLEAR] = "clear",
                [MANAGED_PLACE] = "place",
                [MANAGED_ASK] = "ask",
                [MANAGED_REFUSE] = "refuse",
                [MANAGED_PROTECT] = "protect",
                [MANAGED_GO_ON] = "go on",
                [MANAGED_ABANDON] = "abandon",
                [MANAGED_PUNCH_AGAIN] = "punch again",
                [MANAGED_FILL_AGAIN] = "fill again",
                [MANAGED_WRITE_AGAIN] = "write again",
                [MANAGED_FINISH] = "finish",
        };

        return names[x];
}
