#pragma once

#include <stdint.h>

/*
 * Packets of a channel (CudaAttach), in host byte order. What is mapped of [address, address + size) on the node is
 * asked back by svmd, with a number that is greater than all before, those of an earlier svmd too. The client answers
 * with a number, eight bytes, when what all takes up to it name is unmapped and no kernel uses it any more.
 *
 * What CudaMap allowed with a `value` that is not less than a take's number was allowed after it, and stays.
 */
struct cuda_take {
        uint64_t seq, address, size;
};
