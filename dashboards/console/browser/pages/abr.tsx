export const Abr = () => <p>ABR</p>
