/* counters WORD PATH PATH_OF_V1 BEFORE: prints what the holder reads there, as it reads the kernel's own files. */
#define main holder_main
#include "holder.c"
#undef main

int main(int argc, char **argv)
{
    char word[64];
    if (argc != 5)
        return 2;
    (void)snprintf(word, sizeof word, "\n%s ", argv[1]);
    (void)printf("%llu\n", (unsigned long long)counted(word, argv[2], argv[3], strtoull(argv[4], NULL, 10)));
    return 0;
}
