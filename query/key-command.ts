/**
 * `npm run key -- --id grafana --scopes metrics:read`: makes a key. It is printed once and kept nowhere; what is stored is its hash,
 * in the entry printed beside it.
 */
import { Command, InvalidArgumentError } from 'commander'
import { entryOf, newKey } from './http/keys.ts'
import { SCOPES, type Scope } from './http/scopes.ts'

new Command('npm run key --')
  .description('make a key for the API: prints it once, and the entry for API_KEYS_FILE, which holds its hash only')
  .requiredOption('--id <name>', 'whose key it is, for logs and limits', (text: string) => {
    if (!/^[A-Za-z0-9._-]{1,64}$/.test(text))
      throw new InvalidArgumentError('expected 1 to 64 letters, digits, dots, underscores or dashes')
    return text
  })
  .requiredOption('--scopes <list>', `what it may do, with commas between: ${SCOPES.join(', ')}`, parseScopes)
  .allowExcessArguments(false)
  .action(({ id, scopes }: { id: string; scopes: Scope[] }) => {
    const key = newKey()
    console.log(`The key of ${id}, shown this once:\n\n  ${key}\n`)
    console.log(`For the list in API_KEYS_FILE (a JSON array; read when the API starts):\n`)
    console.log(`  ${JSON.stringify(entryOf(id, key, scopes))}`)
  })
  .parse()

function parseScopes(text: string): Scope[] {
  return text.split(',').map(name => {
    const scope = SCOPES.find(known => known === name)
    if (!scope) throw new InvalidArgumentError(`expected some of ${SCOPES.join(', ')}`)
    return scope
  })
}
