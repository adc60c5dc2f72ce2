/*
 * svmd that does not note what a request has changed of who holds what: its own objects, linked again with this in
 * place of the call. It has no history of use worth reading, and is only good to measure what the accounts cost.
 */
struct service;
struct session;

void __wrap_accounts_note(struct service *svc, struct session *s);
void __wrap_accounts_note(struct service *svc, struct session *s) {
}
