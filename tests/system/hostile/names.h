#pragma once

/*
 * Who may see one partition only looks for the others: every request that there is, without anything in it and with
 * each of these names where a name may stand. Fails where an answer has a name that the request had not, or where one
 * about a name that there is differs from the same about a name that there is not. -> how many answers there were
 */
unsigned names_search(const char *socket, const char *const *names, unsigned count);
