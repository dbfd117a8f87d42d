/** Rows of what `bench/abr.ts` prints that `npm run bench` reads. */
export const FROM_MEMORY = 'a session, for its caller'
export const DIRECT = 'the same from ClickHouse, asked one at a time'
