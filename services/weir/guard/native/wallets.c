/* Addresses that check themselves by SHA-256 (FIPS 180-4): no more of it than 64 bytes need. */
#include "checks.h"

#include <string.h>

enum { RAW = 25, CHECKED = 21, HASH = 32, BLOCK = 64, MOST_DIGITS = 35 };

static uint32_t turned(uint32_t x, int by) { return x >> by | x << (32 - by); }

static uint32_t big_endian(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* Of at most 55 bytes, which are one block. */
static void sha256(const uint8_t *bytes, int count, uint8_t *out) {
    static const uint32_t k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
    uint32_t hash[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    uint8_t block[BLOCK] = {0};
    uint32_t w[64], s[8];
    memcpy(block, bytes, (size_t)count);
    block[count] = 0x80;
    block[62] = (uint8_t)(count >> 5), block[63] = (uint8_t)(count << 3);
    for (int i = 0; i < 16; i++) w[i] = big_endian(block + 4 * i);
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (turned(a, 7) ^ turned(a, 18) ^ a >> 3) + (turned(b, 17) ^ turned(b, 19) ^ b >> 10);
    }
    memcpy(s, hash, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t e = s[4], a = s[0];
        uint32_t one = s[7] + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + ((e & s[5]) ^ (~e & s[6])) + k[i] + w[i];
        uint32_t two = (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += one;
        s[0] = one + two;
    }
    for (int i = 0; i < 8; i++) {
        uint32_t word = hash[i] + s[i];
        for (int k_byte = 0; k_byte < 4; k_byte++) out[4 * i + k_byte] = (uint8_t)(word >> (24 - 8 * k_byte));
    }
}

static int value_of(uint32_t c) {
    static const char digits[] = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    const char *at = c && c < 128 ? strchr(digits, (int)c) : NULL;
    return at ? (int)(at - digits) : -1;
}

int weir_base58_wallet(const uint32_t *text, int32_t size) {
    uint8_t raw[RAW] = {0}, hash[HASH];
    while (size && *text == '1') text++, size--;
    if (size > MOST_DIGITS) return 0;
    for (int32_t i = 0; i < size; i++) {
        int carry = value_of(text[i]);
        if (carry < 0) return 0;
        for (int k = RAW - 1; k >= 0; k--, carry >>= 8) raw[k] = (uint8_t)(carry += 58 * raw[k]);
        if (carry) return 0;
    }
    sha256(raw, CHECKED, hash);
    sha256(hash, HASH, hash);
    return !memcmp(hash, raw + CHECKED, RAW - CHECKED);
}
