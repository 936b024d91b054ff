/* The API around computing: errors, empty problems, instruction sets. */
#ifndef TEST_API_H
#define TEST_API_H

void check_api(void);
/* Leaves GROUPCONV_ISA as it is. */
void check_instruction_sets(void);

#endif
