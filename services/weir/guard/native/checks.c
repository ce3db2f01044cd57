#include "checks.h"

#include <string.h>

enum { MOST = 40 }; /* letters and digits of the longest number, and more */

typedef struct {
    int32_t count; /* MOST + 1: more than any number has */
    char at[MOST + 1];
} number_t;

static int is_digit(uint32_t c) { return c - '0' < 10; }
static int is_capital(uint32_t c) { return c - 'A' < 26; }

static number_t digits_of(const uint32_t *text, int32_t size) {
    number_t n = {0};
    for (int32_t i = 0; i < size && n.count <= MOST; i++)
        if (is_digit(text[i])) n.at[n.count++] = (char)text[i];
    return n;
}

static number_t bare(const uint32_t *text, int32_t size) {
    number_t n = {0};
    for (int32_t i = 0; i < size && n.count <= MOST; i++) {
        uint32_t c = text[i] - 'a' < 26 ? text[i] - 32 : text[i];
        if (is_digit(c) || is_capital(c)) n.at[n.count++] = (char)c;
    }
    return n;
}

static int are_digits(const char *s, int count) {
    for (int i = 0; i < count; i++)
        if (!is_digit((unsigned char)s[i])) return 0;
    return 1;
}

static int value(const char *s, int count) {
    int number = 0;
    for (int i = 0; i < count; i++) number = 10 * number + (s[i] - '0');
    return number;
}

static int is_one_digit_repeated(const char *s, int count) {
    int i = 1;
    while (i < count && s[i] == s[0]) i++;
    return i == count;
}

static int weighted(const char *s, const int8_t *weights, int count) {
    int sum = 0;
    for (int i = 0; i < count; i++) sum += (s[i] - '0') * weights[i];
    return sum;
}

static int falling(const char *s, int from, int count) { /* weights from, from - 1, … */
    int sum = 0;
    for (int i = 0; i < count; i++) sum += (s[i] - '0') * (from - i);
    return sum;
}

static int is_luhn(const char *s, int count) {
    int sum = 0;
    for (int i = count - 1, is_twice = 0; i >= 0; i--, is_twice = !is_twice) {
        int digit = (s[i] - '0') << is_twice;
        sum += digit > 9 ? digit - 9 : digit;
    }
    return sum % 10 == 0;
}

static int is_mod_11_10(const char *s, int count) {
    int product = 10;
    for (int i = 0; i < count - 1; i++) {
        int sum = (product + s[i] - '0') % 10;
        product = (sum ? sum : 10) * 2 % 11;
    }
    return (11 - product) % 10 == s[count - 1] - '0';
}

static int is_date(int year, int month, int day) {
    static const int8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (year < 1850 || year > 2100 || month < 1 || month > 12 || day < 1) return 0;
    int is_leap = year % 4 == 0 && (year % 100 || year % 400 == 0);
    return day <= days[month - 1] + (month == 2 && is_leap);
}

static int is_within(int number, int first, int last) { return number >= first && number <= last; }

/* Whether one of the words of a list, all of `length` characters and apart by a blank, begins a text. */
static int begins_with(const char *s, const char *words, int length) {
    for (; *words; words += length + (words[length] == ' '))
        if (!memcmp(s, words, (size_t)length)) return 1;
    return 0;
}

static int is_network(const char *s, int count) {
    int four = value(s, 4), two = four / 100;
    return (s[0] == '4' && (count == 13 || count == 16 || count == 19)) ||
           (count == 16 && (is_within(four, 5100, 5599) || is_within(four, 2221, 2720))) ||
           (count == 15 && (two == 34 || two == 37)) ||
           ((count == 16 || count == 19) && (four == 6011 || is_within(four, 6440, 6499) || two == 65)) ||
           (count >= 14 && (is_within(four, 3000, 3059) || four == 3095 || two == 36 || two == 38 || two == 39)) ||
           (count >= 16 && (is_within(four, 3528, 3589) || two == 62 || two == 81)) ||
           two == 50 || is_within(two, 56, 59) || is_within(two, 63, 67) ||
           (count == 16 && (is_within(four, 2200, 2204) || four == 6521 || four == 6522 || four == 9792));
}

static int card(const uint32_t *text, int32_t size) {
    number_t n = digits_of(text, size);
    return n.count >= 12 && n.count <= 19 && is_network(n.at, n.count) && is_luhn(n.at, n.count);
}

static int cn_bank(const uint32_t *text, int32_t size) {
    number_t n = digits_of(text, size);
    if (n.count < 16 || n.count > 19) return 0;
    int is_bank = begins_with(n.at, "62", 2) || begins_with(n.at, "940", 3) ||
                  begins_with(n.at, "9558 9559 9843 6013 6014 4563 4367 4213 4340 4055 5899", 4);
    return is_bank && is_luhn(n.at, n.count) && !is_one_digit_repeated(n.at, n.count);
}

static int is_province(const char *s) {
    int code = value(s, 2);
    return is_within(code, 11, 15) || is_within(code, 21, 23) || is_within(code, 31, 37) || is_within(code, 41, 46) ||
           is_within(code, 50, 54) || is_within(code, 61, 65) || code == 71 || is_within(code, 81, 83);
}

static int resident_id(const uint32_t *text, int32_t size) {
    static const int8_t weights[] = {7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2};
    number_t n = bare(text, size);
    if (n.count != 18 || !are_digits(n.at, 17) || !is_province(n.at)) return 0;
    if (!is_date(value(n.at + 6, 4), value(n.at + 10, 2), value(n.at + 12, 2))) return 0;
    return "10X98765432"[weighted(n.at, weights, 17) % 11] == n.at[17];
}

static int old_resident_id(const uint32_t *text, int32_t size) {
    number_t n = digits_of(text, size);
    if (n.count != 15 || !is_province(n.at) || !value(n.at + 2, 4)) return 0;
    return is_date(1900 + value(n.at + 6, 2), value(n.at + 8, 2), value(n.at + 10, 2));
}

/* As in Python, the last eleven digits of however many. */
static int cn_mobile(const uint32_t *text, int32_t size) {
    int num_digits = 0, is_round = 1;
    for (int32_t i = size - 1; i >= 0 && num_digits < 11; i--) {
        if (!is_digit(text[i])) continue;
        if (++num_digits <= 9 && text[i] != '0') is_round = 0;
    }
    return num_digits == 11 && !is_round;
}

static int us_ssn(const uint32_t *text, int32_t size) {
    number_t n = digits_of(text, size);
    if (n.count != 9 || is_one_digit_repeated(n.at, 9) || begins_with(n.at, "078051120 219099999 457555462", 9)) return 0;
    int area = value(n.at, 3);
    return area && area != 666 && area < 900 && value(n.at + 3, 2) && value(n.at + 5, 4);
}

static int us_itin(const uint32_t *text, int32_t size) {
    number_t n = digits_of(text, size);
    if (n.count != 9 || n.at[0] != '9' || is_one_digit_repeated(n.at, 9)) return 0;
    int group = value(n.at + 3, 2);
    return is_within(group, 50, 65) || is_within(group, 70, 88) || (group >= 90 && group != 93);
}

static int us_aba(const uint32_t *text, int32_t size) {
    static const int8_t weights[] = {3, 7, 1, 3, 7, 1, 3, 7, 1};
    number_t n = digits_of(text, size);
    if (n.count != 9 || is_one_digit_repeated(n.at, 9)) return 0;
    int district = value(n.at, 2);
    int is_district = is_within(district, 1, 12) || is_within(district, 21, 32) || is_within(district, 61, 72) || district == 80;
    return is_district && weighted(n.at, weights, 9) % 10 == 0;
}

static int us_npi(const uint32_t *text, int32_t size) {
    number_t n = digits_of(text, size);
    if (n.count != 10 || (n.at[0] != '1' && n.at[0] != '2')) return 0;
    char whole[15] = "80840";
    memcpy(whole + 5, n.at, 10);
    return is_luhn(whole, 15);
}

static int us_phone(const uint32_t *text, int32_t size) {
    number_t n = digits_of(text, size);
    const char *s = n.count == 11 && n.at[0] == '1' ? n.at + 1 : n.at;
    if (n.count - (s - n.at) != 10 || s[0] < '2' || s[3] < '2') return 0;
    return memcmp(s + 1, "11", 2) && memcmp(s + 4, "11", 2) && !is_one_digit_repeated(s, 10);
}

static int uk_nhs(const uint32_t *text, int32_t size) {
    number_t n = digits_of(text, size);
    if (n.count != 10 || is_one_digit_repeated(n.at, 10)) return 0;
    return (11 - falling(n.at, 10, 9) % 11) % 11 == n.at[9] - '0';
}

static int steuer_id(const uint32_t *text, int32_t size) {
    number_t n = digits_of(text, size);
    int counts[10] = {0}, num_several = 0, most = 0;
    if (n.count != 11 || n.at[0] == '0') return 0;
    for (int i = 0; i < 10; i++) counts[n.at[i] - '0']++;
    for (int i = 0; i < 10; i++) {
        num_several += counts[i] > 1;
        most = counts[i] > most ? counts[i] : most;
    }
    return num_several == 1 && most <= 3 && is_mod_11_10(n.at, 11);
}

static int is_dni_letter(const char *s, int number) { return "TRWAGMYFPDXBNJZSQVHLCKE"[number % 23] == s[8]; }

static int es_dni(const uint32_t *text, int32_t size) {
    number_t n = bare(text, size);
    if (n.count != 9) return 0;
    if (is_within(n.at[0], 'X', 'Z')) n.at[0] = (char)(n.at[0] - 'X' + '0');
    return are_digits(n.at, 8) && !is_one_digit_repeated(n.at, 8) && is_dni_letter(n.at, value(n.at, 8));
}

static int nl_bsn(const uint32_t *text, int32_t size) {
    static const int8_t weights[] = {9, 8, 7, 6, 5, 4, 3, 2, -1};
    number_t n = digits_of(text, size);
    return n.count == 9 && !is_one_digit_repeated(n.at, 9) && weighted(n.at, weights, 9) % 11 == 0;
}

static int pl_pesel(const uint32_t *text, int32_t size) {
    static const int8_t weights[] = {1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1};
    static const int16_t centuries[] = {1900, 2000, 2100, 2200, 1800};
    number_t n = digits_of(text, size);
    if (n.count != 11) return 0;
    int month = value(n.at + 2, 2), year = centuries[month / 20] + value(n.at, 2);
    return is_date(year, month % 20, value(n.at + 4, 2)) && weighted(n.at, weights, 11) % 10 == 0;
}

static int be_national(const uint32_t *text, int32_t size) {
    number_t n = digits_of(text, size);
    if (n.count != 11 || value(n.at + 2, 2) > 12 || value(n.at + 4, 2) > 31 || is_one_digit_repeated(n.at, 11)) return 0;
    int64_t body = value(n.at, 9);
    int check = value(n.at + 9, 2);
    return 97 - body % 97 == check || 97 - (body + 2000000000) % 97 == check;
}

static int personnummer(const uint32_t *text, int32_t size) {
    number_t n = digits_of(text, size);
    if (n.count != 10 && n.count != 12) return 0;
    const char *s = n.at + n.count - 10;
    int century = n.count == 12 ? value(n.at, 2) : 20, day = value(s + 4, 2);
    return is_date(100 * century + value(s, 2), value(s + 2, 2), day > 60 ? day - 60 : day) && is_luhn(s, 10);
}

static int is_blank(uint32_t c) { return c == ' ' || is_within((int)c, 9, 13) || is_within((int)c, 0x1C, 0x1F); }

/* Take blanks from both ends; 0: not all is ASCII, and Python is to be asked. */
static int strip(const uint32_t **text, int32_t *size) {
    for (int32_t i = 0; i < *size; i++)
        if ((*text)[i] >= 128) return 0;
    while (*size && is_blank((*text)[*size - 1])) --*size;
    for (; *size && is_blank(**text); --*size) ++*text;
    return 1;
}

static int fi_hetu(const uint32_t *text, int32_t size) {
    if (!strip(&text, &size)) return -1;
    if (size != 11) return 0;
    char s[11];
    for (int i = 0; i < 11; i++) s[i] = (char)(text[i] - 'a' < 26 ? text[i] - 32 : text[i]);
    if (!are_digits(s, 6) || !are_digits(s + 7, 3)) return 0;
    int century = s[6] == '+' ? 1800 : is_within(s[6], 'A', 'F') ? 2000 : 1900;
    if (!is_date(century + value(s + 4, 2), value(s + 2, 2), value(s, 2))) return 0;
    int number = value(s, 6) * 1000 + value(s + 7, 3);
    return "0123456789ABCDEFHJKLMNPRSTUVWXY"[number % 31] == s[10];
}

static int fr_nir(const uint32_t *text, int32_t size) {
    number_t n = bare(text, size);
    if (n.count != 15 || !memchr("12378", n.at[0], 5)) return 0;
    if (n.at[5] == '2' && (n.at[6] == 'A' || n.at[6] == 'B')) {
        n.at[5] = '1';
        n.at[6] = n.at[6] == 'A' ? '9' : '8';
    }
    if (!are_digits(n.at, 15)) return 0;
    int month = value(n.at + 3, 2);
    int64_t body = value(n.at, 7) * (int64_t)1000000 + value(n.at + 7, 6);
    int is_month = is_within(month, 1, 12) || is_within(month, 20, 42) || month >= 50;
    return is_month && 97 - body % 97 == value(n.at + 13, 2);
}

static int pt_nif(const uint32_t *text, int32_t size) {
    number_t n = digits_of(text, size);
    if (n.count != 9 || !memchr("1235689", n.at[0], 7) || is_one_digit_repeated(n.at, 9)) return 0;
    return (11 - falling(n.at, 9, 8) % 11) % 11 % 10 == n.at[8] - '0';
}

static int iban_length(const char *country) {
    static const struct {
        int length;
        const char *countries;
    } known[] = {{15, "NO"}, {16, "BE"}, {18, "DK FI FO GL NL SD FK"}, {19, "MK SI"},
                 {20, "AT BA EE KZ LT LU MN XK"}, {21, "CH HR LI LV"}, {22, "BG BH CR DE GB GE IE ME RS VA"},
                 {23, "AE GI IL IQ OM SO TL"}, {24, "AD CZ ES MD PK RO SA SE SK TN VG"}, {25, "LY PT ST"},
                 {26, "IS TR"}, {27, "BI DJ FR GR IT MC MR SM"}, {28, "AL AZ BY CY DO GT HU LB NI PL SV"},
                 {29, "BR EG PS QA UA"}, {30, "JO KW MU YE"}, {31, "MT SC"}, {32, "LC"}, {33, "RU"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (begins_with(country, known[i].countries, 2)) return known[i].length;
    return 0;
}

static int iban(const uint32_t *text, int32_t size) {
    number_t n = bare(text, size);
    if (n.count < 4 || iban_length(n.at) != n.count || !are_digits(n.at + 2, 2)) return 0;
    int remainder = 0;
    for (int i = 0; i < n.count; i++) {
        char c = n.at[(i + 4) % n.count];
        remainder = is_digit((unsigned char)c) ? (10 * remainder + c - '0') % 97 : (100 * remainder + c - 'A' + 10) % 97;
    }
    return remainder == 1;
}

static int phone_e164(const uint32_t *text, int32_t size) {
    static const int16_t two[][2] = {{20, 20}, {27, 27}, {30, 34}, {36, 36}, {39, 41}, {43, 49}, {51, 58}, {60, 66},
                                     {81, 82}, {84, 84}, {86, 86}, {90, 95}, {98, 98}};
    static const int16_t three[][2] = {{211, 269}, {290, 299}, {350, 359}, {370, 389}, {420, 423}, {500, 509},
                                       {590, 599}, {670, 692}, {850, 850}, {852, 853}, {855, 856}, {880, 880},
                                       {886, 886}, {960, 979}, {992, 998}};
    number_t n = digits_of(text, size);
    if (n.count < 8 || n.count > 15 || (n.at[1] == '0' && is_one_digit_repeated(n.at + 1, n.count - 1))) return 0;
    if (n.at[0] == '1' || n.at[0] == '7') return 1;
    for (size_t i = 0; i < sizeof two / sizeof *two; i++)
        if (is_within(value(n.at, 2), two[i][0], two[i][1])) return 1;
    for (size_t i = 0; i < sizeof three / sizeof *three; i++)
        if (is_within(value(n.at, 3), three[i][0], three[i][1])) return 1;
    return 0;
}

static int is_there(const uint32_t *text, int32_t size, const char *word) {
    int32_t length = (int32_t)strlen(word);
    if (size < length) return 0;
    for (int32_t i = 0; i < length; i++)
        if ((text[i] - 'A' < 26 ? text[i] + 32 : text[i]) != (unsigned char)word[i]) return 0;
    return 1;
}

static int email(const uint32_t *text, int32_t size) {
    static const char *const endings[] = {".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".js",
                                          ".css", ".html", ".py", ".json", ".yaml", ".service"};
    if (!strip(&text, &size)) return -1;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        int32_t length = (int32_t)strlen(endings[i]);
        if (size >= length && is_there(text + size - length, length, endings[i])) return 0;
    }
    return !is_there(text, size, "git@") && !is_there(text, size, "hg@") && !is_there(text, size, "svn@");
}

static int ch_ahv(const uint32_t *text, int32_t size) {
    number_t n = digits_of(text, size);
    if (n.count != 13 || memcmp(n.at, "756", 3)) return 0;
    int sum = 0;
    for (int i = 0; i < 13; i++) sum += (n.at[i] - '0') * (i % 2 ? 3 : 1);
    return sum % 10 == 0;
}

static int codice_fiscale(const uint32_t *text, int32_t size) {
    static const int8_t odd[] = {1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23};
    static const int8_t places[] = {6, 7, 9, 10, 12, 13, 14}; /* digits, or the letters that stand for them */
    static const char letters[] = "LMNPQRSTUV";
    number_t n = bare(text, size);
    if (n.count != 16 || !memchr("ABCDEHLMPRST", n.at[8], 12) || is_digit((unsigned char)n.at[15])) return 0;
    int sum = 0, numbers[7];
    for (int i = 0; i < 15; i++) {
        int is_number = is_digit((unsigned char)n.at[i]), own = n.at[i] - (is_number ? '0' : 'A');
        if (i < 6 && is_number) return 0;
        sum += i % 2 ? own : odd[own];
    }
    for (int i = 0; i < 7; i++) {
        char c = n.at[places[i]];
        const char *letter = strchr(letters, c);
        if (!is_digit((unsigned char)c) && !letter) return 0;
        numbers[i] = letter ? (int)(letter - letters) : c - '0';
    }
    int day = 10 * numbers[2] + numbers[3];
    return (is_within(day, 1, 31) || is_within(day, 41, 71)) && sum % 26 == n.at[15] - 'A';
}

const named_check_t weir_checks[] = {
    {"card", card}, {"cn-bank", cn_bank}, {"gb11643", resident_id}, {"gb11643-15", old_resident_id},
    {"cn-mobile", cn_mobile}, {"us-ssn", us_ssn}, {"us-itin", us_itin}, {"us-aba", us_aba}, {"us-npi", us_npi},
    {"us-phone", us_phone}, {"uk-nhs", uk_nhs}, {"de-steuer-id", steuer_id}, {"es-dni", es_dni}, {"nl-bsn", nl_bsn},
    {"pl-pesel", pl_pesel}, {"be-national", be_national}, {"se-personnummer", personnummer}, {"fi-hetu", fi_hetu},
    {"fr-nir", fr_nir}, {"pt-nif", pt_nif}, {"iban", iban}, {"phone-e164", phone_e164}, {"email", email},
    {"ch-ahv", ch_ahv}, {"it-codice-fiscale", codice_fiscale}, {"base58-wallet", weir_base58_wallet}, {0}};
