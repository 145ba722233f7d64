// Names of the contract and of settings, as parts between which a line may end.

/* As in "AppendStreamRequest", "girih.events.v1", "STREAM_NOT_FOUND" and "keys/trusted.json". */
const WORD_ENDS = /(?<=[a-z0-9])(?=[A-Z])|(?<=[._/])(?=\w)/;

/** @param {string} name */
export const wordsIn = (name) => name.split(WORD_ENDS);
