#include "utf8.h"

unsigned utf8_decode(const char *text, uint32_t *ret) {
        static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
        const unsigned char *at = (const unsigned char *)text;
        unsigned length = *at < 0x80 ? 1 : *at >> 5 == 6 ? 2 : *at >> 4 == 14 ? 3 : *at >> 3 == 30 ? 4 : 0;
        uint32_t c = length == 1 ? *at : length ? *at & (0x7fu >> length) : 0;

        for (unsigned i = 1; i < length; i++) {
                if (at[i] >> 6 != 2)
                        return 0;
                c = c << 6 | (at[i] & 0x3f);
        }
        if (c < least[length] || (c >= 0xd800 && c < 0xe000) || c > 0x10ffff)
                return 0;
        *ret = c;
        return length;
}
