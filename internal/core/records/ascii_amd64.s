#include "textflag.h"

// func asciiBlocksAVX2(p []byte) int
//
// Four loads a step, ORed: the top bit of each byte tells.
TEXT ·asciiBlocksAVX2(SB), NOSPLIT, $0-32
	MOVQ p_base+0(FP), SI
	MOVQ p_len+8(FP), CX
	XORQ AX, AX
	SUBQ $128, CX

step:
	CMPQ AX, CX
	JGT  done
	VMOVDQU (SI)(AX*1), Y0
	VMOVDQU 32(SI)(AX*1), Y1
	VPOR 64(SI)(AX*1), Y0, Y0
	VPOR 96(SI)(AX*1), Y1, Y1
	VPOR Y0, Y1, Y0
	VPMOVMSKB Y0, DX
	TESTL DX, DX
	JNZ  done
	ADDQ $128, AX
	JMP  step

done:
	VZEROUPPER
	MOVQ AX, ret+24(FP)
	RET
